// ecs.config: lines NAME=value into the environment, the same when read again, and gone with the file.
#include "config/config_files.h"
#include "fuzz.h"
#include <sys/mman.h>

static size_t count_variables(void)
{
	size_t count = 0;
	while (environ && environ[count])
		count++;
	return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_close_ int fd = memfd_create("ecs.config", MFD_CLOEXEC);
	char path[64];
	char **own = environ, *ours[] = {(char *)"OURS=process", NULL};
	struct config_files files = {.paths = path};
	CHECK(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);

	environ = ours; // setenv copies it when it has to grow
	config_files_read(&files);
	size_t count = files.count;
	CHECK(count_variables() == count + 1);
	for (size_t i = 0; i < count; i++)
		CHECK(*files.names[i] && !strchr(files.names[i], '=') && !strchr(files.names[i], '\n') &&
		      getenv(files.names[i]));
	config_files_read(&files);
	CHECK(files.count == count && count_variables() == count + 1);
	CHECK(ftruncate(fd, 0) == 0);
	config_files_read(&files);
	CHECK(files.count == 0 && count_variables() == 1);
	CHECK(str_equal(getenv("OURS"), "process"));
	config_files_free(&files);
	environ = own;
	return 0;
}
