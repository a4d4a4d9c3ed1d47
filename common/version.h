// The names by which the control plane and operators know this program.
#pragma once

// ecsd's own version and commit, e.g. "0.1.0", "1a2b3c4d".
extern const char ecsd_version[];
extern const char ecsd_commit[];
// Directory where ecs-endpoint is installed, tried after ecsd's own directory.
extern const char ecsd_libexecdir[];

// The control plane and some tools decide by agent version what an instance can do; this is the
// official agent's version whose behaviour is matched (spec/README.md). It goes into URLs and User-Agent.
#define AGENT_COMPATIBLE_VERSION "1.105.1"
