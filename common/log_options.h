// The options of Docker's awslogs, fluentd and syslog log drivers, checked and decoded as Docker does when a container
// is created (logging.md §4.1, §5.1, §6.1). ecsd uses it before it creates a container, so that what is wrong is told
// where users expect it; ecs-logd when a container starts. Error texts are those of Docker's drivers; where those do
// not name the option, that is put in front.
//
// What only shows at the start (a tag template, a pattern, files) is checked by ecs-logd (logging/settings.h,
// destination.h). Error texts quote the value that is wrong. If it came from a secret, the caller has to keep the text
// to itself.
#pragma once

#include "common/error.h"
#include "common/json.h"
#include "common/log_values.h"
#include <stdbool.h>
#include <stdint.h>

#define LOG_OPTION_OURS "x-ecs-"         // keys that begin so are between ecsd and ecs-logd, and no driver's
#define LOG_OPTION_DRIVER "x-ecs-driver" // "awslogs", "fluentd", "syslog"
#define LOG_OPTION_SPOOL_MAX "x-ecs-spool-max-size"             // a size: of this container's spool
#define LOG_OPTION_OCTET_COUNTING "x-ecs-syslog-octet-counting" // boolean: on stream sockets without TLS too

enum log_driver { LOG_AWSLOGS, LOG_FLUENTD, LOG_SYSLOG };
#define LOG_DRIVER_BIT(driver) (1u << (driver)) // of a set of drivers
const char *log_driver_name(enum log_driver driver);
bool log_driver_parse(const char *name, enum log_driver *driver); // false: none of the three

enum log_scheme { LOG_TCP, LOG_TLS, LOG_UDP, LOG_UNIX, LOG_UNIXGRAM, LOG_LOCAL_SYSLOG /* no address: /dev/log etc. */ };
struct log_address {
	enum log_scheme scheme;
	char *host; // without brackets, not empty; NULL for Unix sockets
	unsigned port;
	char *path; // Unix sockets: not empty, fits sockaddr_un
};

// Absent and empty options have their default.
struct log_options_awslogs {
	char *group, *stream, *region, *endpoint;  // stream NULL: the tag; region NULL: found out at the start
	char *datetime_format, *multiline_pattern; // NULL: none
	char *credentials_endpoint;                // relative URI; NULL: the instance's own
	bool create_group, create_stream;          // create_stream: true unless set to false
	bool emf;                                  // awslogs-format=json/emf
	int64_t flush_interval_s;                  // 5; 1 to a year, what is above counts as a year
	int64_t max_buffered_events;               // 4096; accepted, the spool takes its place
};
struct log_options_fluentd {
	struct log_address address; // tcp 127.0.0.1:24224; tcp, tls or unix
	bool async;                 // also by its old name fluentd-async-connect
	bool request_ack, sub_second;
	int64_t reconnect_interval_ms;             // 0: off; 100 to 10000
	int64_t retry_wait_ms;                     // 1000; at least 1
	int64_t write_timeout_ms, read_timeout_ms; // 0: none
	int64_t max_retries, buffer_limit;         // accepted; the spool takes their place
};
struct log_options_syslog {
	struct log_address address; // local syslog; any scheme
	unsigned facility;          // 3: daemon
	enum { LOG_FORMAT_UNIX, LOG_FORMAT_RFC3164, LOG_FORMAT_RFC5424, LOG_FORMAT_RFC5424MICRO } format;
	char *ca_cert, *cert, *key; // file names; NULL: none
	bool skip_verify;           // syslog-tls-skip-verify is there, even empty, and is not a boolean that is false
	bool octet_counting;        // x-ecs-syslog-octet-counting
};
struct log_opts {
	enum log_driver driver;
	char *tag;                                     // template; NULL: the driver's default
	char *labels, *labels_regex, *env, *env_regex; // NULL: not set
	bool non_blocking;                             // mode=non-blocking
	uint64_t spool_max;                            // bytes; 0: not set
	union {
		struct log_options_awslogs awslogs;
		struct log_options_fluentd fluentd;
		struct log_options_syslog syslog;
	};
};

// config borrowed. 0, or a negative errno with the built-in driver's text for the first thing that is wrong; *options
// is then empty. Checks in Docker's order: what all drivers have, unknown keys, then the driver's options.
int log_options_parse(enum log_driver driver, const struct json_map *config, struct log_opts *options,
		      struct error *err);
void log_options_free(struct log_opts *options); // its members
// The driver that x-ecs-driver names. 0, or -EINVAL.
int log_options_driver(const struct json_map *config, enum log_driver *driver, struct error *err);
