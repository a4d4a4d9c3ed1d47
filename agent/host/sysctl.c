#include "host/sysctl.h"

#include "common/util.h"
#include <fcntl.h>

#define VALUE_MAX 32

int sysctl_read(const char *name, int *value, struct error *err)
{
	_cleanup_free_ char *path = xasprintf("/proc/sys/%s", name), *text = read_file(path, VALUE_MAX, NULL);
	int64_t number;

	if (!text)
		return error_set_errno(err, errno, "cannot read %s", path);
	if (!parse_int64(str_trim(text), &number) || number < INT32_MIN || number > INT32_MAX)
		return error_set(err, EINVAL, "%s is \"%s\", a number was expected", path, str_trim(text));
	*value = (int)number;
	return 0;
}

int sysctl_write(const char *name, int value, struct error *err)
{
	_cleanup_free_ char *path = xasprintf("/proc/sys/%s", name), *text = xasprintf("%d\n", value);
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		return error_set_errno(err, errno, "cannot write %d to %s", value, path);
	return 0;
}
