#include "common/host.h"

#include "common/log.h"
#include "common/util.h"
#include <sched.h>

enum { CPU_UNITS_PER_CORE = 1024, MEMINFO_MAX = 1 << 16 };

int64_t host_cpu_units(void)
{
	cpu_set_t set;
	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		return (int64_t)CPU_COUNT(&set) * CPU_UNITS_PER_CORE;
	long online = sysconf(_SC_NPROCESSORS_ONLN); // more than 1024 processors
	return (int64_t)(online > 0 ? online : 1) * CPU_UNITS_PER_CORE;
}

int64_t host_memory_mib(void)
{
	_cleanup_free_ char *text = read_file("/proc/meminfo", MEMINFO_MAX, NULL);
	const char *line = text ? strstr(text, "MemTotal:") : NULL;
	unsigned long long kib;

	if (line && sscanf(line, "MemTotal: %llu kB", &kib) == 1)
		return (int64_t)(kib / 1024);
	log_error("cannot read the memory size from /proc/meminfo", NULL);
	return 0;
}

const char *host_architecture(void)
{
#if defined(__x86_64__)
	return "x86_64";
#elif defined(__aarch64__)
	return "arm64";
#else
	_Static_assert(false, "say how ECS calls this architecture");
#endif
}
