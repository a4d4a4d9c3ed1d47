/* get: the smallest HTTP client that a container of the test image needs.
 *
 *   get [-i] [-t SECONDS] http://HOST[:PORT]/PATH     prints the body (-i: the status line first)
 *
 * It waits 5 seconds, or SECONDS, for each step.
 * Exit code 0 for a 2xx answer, 1 for any other, 2 when there was none. Names are looked up in /etc/hosts
 * only: a static program cannot use the resolver of the C library. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static int host_lookup(const char *name, struct in_addr *address)
{
	char line[1024];

	if (inet_pton(AF_INET, name, address) == 1)
		return 0;
	FILE *hosts = fopen("/etc/hosts", "r");
	while (hosts && fgets(line, sizeof line, hosts)) {
		char *save, *ip = strtok_r(line, " \t\n", &save), *alias;
		while (ip && (alias = strtok_r(NULL, " \t\n", &save)))
			if (!strcmp(alias, name) && inet_pton(AF_INET, ip, address) == 1) {
				fclose(hosts);
				return 0;
			}
	}
	if (hosts)
		fclose(hosts);
	return -1;
}

int main(int argc, char **argv)
{
	int show_status = argc > 2 && !strcmp(argv[1], "-i");
	const char *seconds = argc > 3 && !strcmp(argv[argc - 3], "-t") ? argv[argc - 2] : "5";
	const char *url = argc > 1 ? argv[argc - 1] : "";
	char host[256], answer[65536];
	int port = 80, consumed = 0;

	if (sscanf(url, "http://%255[^:/]%n", host, &consumed) != 1) {
		fprintf(stderr, "usage: get [-i] [-t SECONDS] http://HOST[:PORT]/PATH\n");
		return 2;
	}
	const char *path = url + consumed;
	if (*path == ':')
		port = (int)strtol(path + 1, (char **)&path, 10);

	struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
	if (host_lookup(host, &peer.sin_addr) < 0) {
		fprintf(stderr, "get: %s: not in /etc/hosts\n", host);
		return 2;
	}
	struct timeval limit = {.tv_sec = atol(seconds)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
	if (connect(fd, (struct sockaddr *)&peer, sizeof peer) < 0) {
		perror("get: connect");
		return 2;
	}
	dprintf(fd, "GET %s HTTP/1.0\r\nHost: %s\r\nUser-Agent: get\r\nConnection: close\r\n\r\n", *path ? path : "/",
		host);

	size_t length = 0;
	ssize_t n;
	while (length < sizeof answer - 1 && (n = read(fd, answer + length, sizeof answer - 1 - length)) > 0)
		length += (size_t)n;
	answer[length] = 0;

	int status;
	char *body = strstr(answer, "\r\n\r\n");
	if (!body || sscanf(answer, "HTTP/%*s %d", &status) != 1) {
		fprintf(stderr, "get: no HTTP answer from %s\n", host);
		return 2;
	}
	if (show_status)
		printf("%.*s\n", (int)strcspn(answer, "\r\n"), answer);
	puts(body + 4);
	return status / 100 == 2 ? 0 : 1;
}
