#include "cgroups/limits.h"

#include <math.h>

#define VCPUS_MAX 1e6           // far beyond any host; keeps the product inside an integer
#define QUOTA_ROUND_US 10000ULL // systemd's resolution in the official agent's library: 1 %

void cgroup_limits_cpu(struct cgroup_limits *limits, double vcpus, uint64_t period_us)
{
	if (!(vcpus > 0)) // also not a number
		return;
	limits->cpu_shares = 0;
	limits->cpu_period_us = period_us;
	limits->cpu_quota_us = (uint64_t)trunc(fmin(vcpus, VCPUS_MAX) * (double)period_us);
}

void cgroup_limits_add_shares(struct cgroup_limits *limits, uint64_t container_cpu)
{
	uint64_t shares = container_cpu < CGROUP_SHARES_MIN ? CGROUP_SHARES_MIN : container_cpu;
	if (shares > CGROUP_SHARES_MAX - limits->cpu_shares)
		limits->cpu_shares = CGROUP_SHARES_MAX;
	else
		limits->cpu_shares += shares;
}

uint64_t cgroup_cpu_weight(uint64_t shares)
{
	if (shares < CGROUP_SHARES_MIN)
		shares = CGROUP_SHARES_MIN;
	if (shares > CGROUP_SHARES_MAX)
		shares = CGROUP_SHARES_MAX;
	return 1 + (shares - 2) * 9999 / 262142;
}

uint64_t cgroup_quota_per_second(const struct cgroup_limits *limits)
{
	if (limits->cpu_period_us == 0)
		return 0;
	uint64_t per_second = limits->cpu_quota_us * 1000000 / limits->cpu_period_us;
	return (per_second + QUOTA_ROUND_US - 1) / QUOTA_ROUND_US * QUOTA_ROUND_US;
}
