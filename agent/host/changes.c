#include "host/changes.h"

#include "common/util.h"
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#define DATAGRAM_MAX 65536

int changes_open(struct error *err)
{
	_cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_NETFILTER);
	struct sockaddr_nl address = {.nl_family = AF_NETLINK};
	int group = NFNLGRP_NFTABLES;

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || // unbound hears nothing
	    setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0)
		return error_set_errno(err, errno, "the kernel does not tell of changes to nf_tables");
	return take_fd(&fd);
}

bool changes_read(int fd)
{
	static char datagram[DATAGRAM_MAX] __attribute__((aligned(NLMSG_ALIGNTO)));
	bool matters = false;

	for (;;) {
		ssize_t n = recv(fd, datagram, sizeof(datagram), 0);
		if (n < 0 && errno == ENOBUFS) // more than fitted: who knows what
			matters = true;
		else if (n < 0 && errno == EINTR)
			continue;
		else if (n <= 0)
			return matters;
		else if (changes_matter(datagram, (size_t)n))
			matters = true;
	}
}

static bool deletes(unsigned type)
{
	return type == NFT_MSG_DELRULE || type == NFT_MSG_DELCHAIN || type == NFT_MSG_DELTABLE;
}

bool changes_matter(const void *datagram, size_t len)
{
	const char *at = datagram;

	while (len >= sizeof(struct nlmsghdr)) {
		struct nlmsghdr header;
		struct nfgenmsg message;
		memcpy(&header, at, sizeof(header));
		if (header.nlmsg_len < NLMSG_LENGTH(sizeof(message)) || header.nlmsg_len > len)
			return false;
		memcpy(&message, at + NLMSG_HDRLEN, sizeof(message));
		if (NFNL_SUBSYS_ID(header.nlmsg_type) == NFNL_SUBSYS_NFTABLES &&
		    deletes(NFNL_MSG_TYPE(header.nlmsg_type)) &&
		    (message.nfgen_family == NFPROTO_IPV4 || message.nfgen_family == NFPROTO_IPV6))
			return true;
		size_t step = NLMSG_ALIGN(header.nlmsg_len);
		if (step > len)
			return false;
		at += step;
		len -= step;
	}
	return false;
}
