// The command line: one argument a line.
#include "arguments.h"
#include "fuzz.h"

#define ARGUMENTS_MAX 32

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *input = fuzz_text(data, size);
	char *rest = input, *argv[ARGUMENTS_MAX + 2] = {(char *)"ecsd"};
	int argc = 1;
	struct arguments arguments;
	struct error err = {0};
	// A word that is no level is said on standard error, each time.
	static FILE *nowhere;
	FILE *own = stderr;
	if (!nowhere)
		CHECK((nowhere = fopen("/dev/null", "w")));
	for (char *line; argc <= ARGUMENTS_MAX && (line = strsep(&rest, "\n"));)
		argv[argc++] = line;
	stderr = nowhere;
	int r = arguments_parse(argc, argv, &arguments, &err);
	stderr = own;
	if (r < 0) {
		CHECK(err.code == EINVAL);
		CHECK(*err.message);
		return 0;
	}
	CHECK(err.code == 0 && arguments.command <= COMMAND_PACKAGED_DEFAULTS);
	CHECK(arguments.level_driver <= LOG_NONE && arguments.level_on_instance <= LOG_NONE);
	return 0;
}
