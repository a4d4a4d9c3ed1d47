// The limits of a task as values of the kernel and of systemd (cgroups-and-resources.md §5.1). Pure.
#pragma once

#include <stdint.h>

enum {
	CGROUP_SHARES_MIN = 2,      // of a container, docker-mapping.md §8
	CGROUP_SHARES_MAX = 262144, // the kernel's
};

// 0: no such limit.
struct cgroup_limits {
	uint64_t cpu_quota_us, cpu_period_us; // CFS bandwidth; both or none
	uint64_t cpu_shares;                  // only without a quota
	uint64_t memory_bytes;
	uint64_t pids;
};

// vcpus above 0: quota = trunc(vcpus * period), no shares.
void cgroup_limits_cpu(struct cgroup_limits *limits, double vcpus, uint64_t period_us);
// A container's share of the sum that counts when the task has no CPU of its own; the sum is capped.
void cgroup_limits_add_shares(struct cgroup_limits *limits, uint64_t container_cpu);

// cpu.weight and CPUWeight of v2: 1 + (shares - 2) * 9999 / 262142.
uint64_t cgroup_cpu_weight(uint64_t shares);
// CPUQuotaPerSecUSec: the quota in a second, rounded up to 1 % of a CPU (10 000).
uint64_t cgroup_quota_per_second(const struct cgroup_limits *limits);
