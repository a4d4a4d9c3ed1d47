// main() of the targets for `make check`: runs each file of the target's corpus once, with any compiler, and
// reports as cmocka does. Other files or directories may be given as arguments.
#include "fuzz.h"
#include <dirent.h>
#include <sys/stat.h>

#define INPUT_MAX ((size_t)16 << 20)

static unsigned inputs;

static void run_file(const char *path)
{
	size_t len;
	_cleanup_free_ char *text = read_file(path, INPUT_MAX, &len);
	if (!text) {
		fprintf(stderr, "cannot read %s: %s\n", path, strerror(errno));
		exit(1);
	}
	// Seen only if the input ends the program.
	printf("[ input    ] %s\n", path);
	fflush(stdout);
	// Exactly as long as the input: AddressSanitizer sees a byte read too many.
	_cleanup_free_ void *exact = xmemdup(text, len);
	LLVMFuzzerTestOneInput(exact, len);
	inputs++;
}

static void run_path(const char *path)
{
	struct dirent **names;
	struct stat st;
	if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode)) {
		run_file(path);
		return;
	}
	int count = scandir(path, &names, NULL, alphasort);
	for (int i = 0; i < count; i++) {
		_cleanup_free_ char *file = xasprintf("%s/%s", path, names[i]->d_name);
		if (names[i]->d_name[0] != '.')
			run_file(file);
		free(names[i]);
	}
	if (count >= 0)
		free(names);
}

int main(int argc, char **argv)
{
	const char *name = program_invocation_short_name;
	const char *parser = str_starts(name, "fuzz_") ? name + strlen("fuzz_") : name;
	_cleanup_free_ char *corpus = xasprintf("tests/fuzz/corpus/%s", parser);
	LLVMFuzzerInitialize(&argc, &argv);
	for (int i = 1; i < argc; i++)
		run_path(argv[i]);
	if (argc < 2)
		run_path(corpus);
	printf(inputs ? "[       OK ] %s: %u inputs\n" : "[  FAILED  ] %s: %u inputs\n", name, inputs);
	return inputs ? 0 : 1;
}
