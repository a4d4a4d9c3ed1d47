// What readers of a log are told of lines that are missing from it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/util.h"
#include "logging/notice.h"

static void texts(void **state)
{
	static const struct {
		struct spool_loss loss;
		const char *text;
	} cases[] = {
		{{SPOOL_LOST_FULL, 12, 3456, INT64_C(1700000000123456789), INT64_C(1700000001000000000)},
		 "ecs-logd: 12 lines dropped, from 2023-11-14T22:13:20.123Z to 2023-11-14T22:13:21.000Z "
		 "(3456 bytes, the disk space for logs was used up)"},
		{{SPOOL_LOST_DAMAGED, 1, 0, 0, 0}, "ecs-logd: 1 line dropped (damaged on disk)"},
		{{SPOOL_LOST_GARBAGE, 0, 77, 0, 5},
		 "ecs-logd: lines dropped (77 bytes, Docker's log stream was not readable)"},
		{{SPOOL_LOST_BY_DOCKER, 0, 0, 0, 0},
		 "ecs-logd: lines dropped (Docker dropped them before they were logged: mode=non-blocking)"},
	};
	char text[NOTICE_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(notice_text(&cases[i].loss, text, sizeof(text)), strlen(cases[i].text));
		assert_string_equal(text, cases[i].text);
	}
}

static void any_loss_fits(void **state)
{
	struct spool_loss loss = {SPOOL_LOST_BY_DOCKER, UINT64_MAX, UINT64_MAX, INT64_MAX, INT64_MAX};
	char text[NOTICE_MAX], shorter[20];

	(void)state;
	assert_true(notice_text(&loss, text, sizeof(text)) < NOTICE_MAX - 1);
	assert_int_equal(notice_text(&loss, shorter, sizeof(shorter)), sizeof(shorter) - 1);
	assert_memory_equal(shorter, text, sizeof(shorter) - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(texts), cmocka_unit_test(any_loss_fits)};

	return cmocka_run_group_tests_name("logging_notice", tests, NULL, NULL);
}
