// What the kernel says of mounts and control groups: /proc/self/mountinfo, lists of controllers.
#include "cgroups/v1.c"
#include "fuzz.h"

static void check_line(const char *text)
{
	_cleanup_free_ char *line = xstrdup(text);
	char *device, *point, *options;
	if (!parse_mount(line, "/", &device, &point, &options))
		return;
	CHECK(device && point && options);
	CHECK(device >= line && point > device && options > point && options <= line + strlen(text));
	CHECK(strlen(point) <= strlen(text) && *point == '/');
	cgroup_has_word(options, "cpu");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *input = fuzz_text(data, size);
	char *rest = input;
	for (char *line; (line = strsep(&rest, "\n"));) {
		check_line(line);
		// A word of the list, and no part of one.
		_cleanup_free_ char *list = xasprintf("x%s, cpuset,%s cpu,y", line, line);
		CHECK(cgroup_has_word(list, "cpu") && cgroup_has_word(list, "cpuset"));
		_cleanup_free_ char *copy = xstrdup(line);
		unescape(copy);
		CHECK(strlen(copy) <= strlen(line));
		CHECK(below(line, line) || !*line);
	}
	return 0;
}
