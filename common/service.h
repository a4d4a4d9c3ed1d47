// What a service manager (systemd) hands a program and is told by it: listening sockets that outlive the program
// (sd_listen_fds(3)), readiness, a line of status and signs of life (sd_notify(3)). Without one, all of it does nothing.
//
// Not libsystemd: ecs-endpoint loads as few libraries as it can, and its filter has no call that makes a socket. So the one
// to the manager is connected once, at the start, and only written to afterwards.
#pragma once

#include "loop.h"
#include <stdbool.h>

#define SERVICE_FD_START 3 // SD_LISTEN_FDS_START

// The number of sockets that are handed in, as descriptors SERVICE_FD_START and following; each is made non-blocking and
// close-on-exec. 0: none, or they are meant for another process.
int service_sockets(void);
// What a socket is told by: where it listens. (A name, FileDescriptorName=, is all sockets' of a unit.)
bool service_socket_at(int fd, const char *path);     // a Unix socket at this path
bool service_socket_on(int fd, unsigned short *port); // a TCP socket, and its port

// Connects to the manager. Called while sockets can still be made, and before the manager's is out of sight; what follows needs
// write(2) alone. One that cannot be reached is warned about.
void service_open(void);
void service_close(void);
// Has started: those who wait for the program go on. Once; later calls do nothing.
void service_ready(void);
// One line for `systemctl status`; sent if it differs from the last.
void service_status(const char *format, ...) __attribute__((format(printf, 1, 2)));
void service_stopping(void);
// Signs of life from the loop, twice in the time after which the manager would kill (WATCHDOG_USEC), if it asks for any.
void service_watch(struct loop *loop);
void service_watch_end(void); // before the loop goes
