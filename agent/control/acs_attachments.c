#include "control/acs_attachments.h"
#include "common/util.h"
#include <errno.h>

static const struct json_field ipv4_fields[] = {
	JSON_FIELD(struct acs_eni_address, "privateAddress", address, JSON_STRING),
	JSON_FIELD(struct acs_eni_address, "primary", primary, JSON_BOOL),
	JSON_END,
};
static const struct json_table ipv4_table = {"IPv4AddressAssignment", sizeof(struct acs_eni_address), ipv4_fields};

static const struct json_field ipv6_fields[] = {
	JSON_FIELD(struct acs_eni_address, "address", address, JSON_STRING),
	JSON_FIELD(struct acs_eni_address, "primary", primary, JSON_BOOL),
	JSON_END,
};
static const struct json_table ipv6_table = {"IPv6AddressAssignment", sizeof(struct acs_eni_address), ipv6_fields};

static const struct json_field vlan_fields[] = {
	JSON_FIELD(struct acs_eni_vlan, "vlanId", vlan_id, JSON_STRING),
	JSON_FIELD(struct acs_eni_vlan, "trunkInterfaceMacAddress", trunk_mac_address, JSON_STRING),
	JSON_END,
};
static const struct json_table vlan_table = {"NetworkInterfaceVlanProperties", sizeof(struct acs_eni_vlan),
					     vlan_fields};

static const struct json_field tunnel_fields[] = {
	JSON_FIELD(struct acs_eni_tunnel, "tunnelId", tunnel_id, JSON_STRING),
	JSON_FIELD(struct acs_eni_tunnel, "interfaceIpAddress", interface_ip_address, JSON_STRING),
	JSON_END,
};
static const struct json_table tunnel_table = {"NetworkInterfaceTunnelProperties", sizeof(struct acs_eni_tunnel),
					       tunnel_fields};

static const struct json_field veth_fields[] = {
	JSON_FIELD(struct acs_eni_veth, "peerInterface", peer_interface, JSON_STRING),
	JSON_END,
};
static const struct json_table veth_table = {"NetworkInterfaceVethProperties", sizeof(struct acs_eni_veth),
					     veth_fields};

static const struct json_field eni_fields[] = {
	JSON_FIELD(struct acs_eni, "name", name, JSON_STRING),
	JSON_FIELD(struct acs_eni, "macAddress", mac_address, JSON_STRING),
	JSON_FIELD(struct acs_eni, "attachmentArn", attachment_arn, JSON_STRING),
	JSON_FIELD(struct acs_eni, "ec2Id", ec2_id, JSON_STRING),
	JSON_FIELD(struct acs_eni, "index", index, JSON_INT64),
	JSON_FIELD(struct acs_eni, "interfaceAssociationProtocol", protocol, JSON_STRING),
	JSON_SUB(struct acs_eni, "interfaceVlanProperties", vlan, JSON_OBJECT, &vlan_table),
	JSON_SUB(struct acs_eni, "interfaceTunnelProperties", tunnel, JSON_OBJECT, &tunnel_table),
	JSON_SUB(struct acs_eni, "interfaceVethProperties", veth, JSON_OBJECT, &veth_table),
	JSON_SUB(struct acs_eni, "ipv4Addresses", ipv4, JSON_LIST, &ipv4_table),
	JSON_SUB(struct acs_eni, "ipv6Addresses", ipv6, JSON_LIST, &ipv6_table),
	JSON_FIELD(struct acs_eni, "domainName", domain_name, JSON_STRING_LIST),
	JSON_FIELD(struct acs_eni, "domainNameServers", domain_name_servers, JSON_STRING_LIST),
	JSON_FIELD(struct acs_eni, "privateDnsName", private_dns_name, JSON_STRING),
	JSON_FIELD(struct acs_eni, "subnetGatewayIpv4Address", gateway_ipv4, JSON_STRING),
	JSON_FIELD(struct acs_eni, "subnetGatewayIpv6Address", gateway_ipv6, JSON_STRING),
	JSON_END,
};
static const struct json_table eni_table = {"ElasticNetworkInterface", sizeof(struct acs_eni), eni_fields};

static const struct json_field attach_eni_fields[] = {
	JSON_FIELD(struct acs_attach_eni, "messageId", message_id, JSON_STRING),
	JSON_FIELD(struct acs_attach_eni, "clusterArn", cluster_arn, JSON_STRING),
	JSON_FIELD(struct acs_attach_eni, "containerInstanceArn", instance_arn, JSON_STRING),
	JSON_FIELD(struct acs_attach_eni, "taskArn", task_arn, JSON_STRING),
	JSON_FIELD(struct acs_attach_eni, "taskClusterArn", task_cluster_arn, JSON_STRING),
	JSON_FIELD(struct acs_attach_eni, "generatedAt", generated_at, JSON_INT64),
	JSON_FIELD(struct acs_attach_eni, "waitTimeoutMs", wait_timeout_ms, JSON_INT64),
	JSON_SUB(struct acs_attach_eni, "elasticNetworkInterfaces", enis, JSON_LIST, &eni_table),
	JSON_END,
};
const struct json_table acs_attach_eni_table = {"AttachNetworkInterfacesMessage", sizeof(struct acs_attach_eni),
						attach_eni_fields};

static const struct json_field property_fields[] = {
	JSON_FIELD(struct acs_attachment_property, "name", name, JSON_STRING),
	JSON_FIELD(struct acs_attachment_property, "value", value, JSON_STRING),
	JSON_END,
};
static const struct json_table property_table = {"AttachmentProperty", sizeof(struct acs_attachment_property),
						 property_fields};

static const struct json_field attachment_fields[] = {
	JSON_FIELD(struct acs_attachment, "attachmentArn", arn, JSON_STRING),
	JSON_FIELD(struct acs_attachment, "attachmentType", type, JSON_STRING),
	JSON_SUB(struct acs_attachment, "attachmentProperties", properties, JSON_LIST, &property_table),
	JSON_END,
};
static const struct json_table attachment_table = {"Attachment", sizeof(struct acs_attachment), attachment_fields};

static const struct json_field attach_resource_fields[] = {
	JSON_FIELD(struct acs_attach_resource, "messageId", message_id, JSON_STRING),
	JSON_FIELD(struct acs_attach_resource, "clusterArn", cluster_arn, JSON_STRING),
	JSON_FIELD(struct acs_attach_resource, "containerInstanceArn", instance_arn, JSON_STRING),
	JSON_FIELD(struct acs_attach_resource, "taskArn", task_arn, JSON_STRING),
	JSON_FIELD(struct acs_attach_resource, "taskClusterArn", task_cluster_arn, JSON_STRING),
	JSON_FIELD(struct acs_attach_resource, "generatedAt", generated_at, JSON_INT64),
	JSON_FIELD(struct acs_attach_resource, "waitTimeoutMs", wait_timeout_ms, JSON_INT64),
	JSON_SUB(struct acs_attach_resource, "attachment", attachment, JSON_OBJECT, &attachment_table),
	JSON_END,
};
const struct json_table acs_attach_resource_table = {"ConfirmAttachmentMessage", sizeof(struct acs_attach_resource),
						     attach_resource_fields};

// --- network interfaces (§12.5) ---

static int check_gateway(const char *family, const char *address, struct error *err)
{
	const char *slash = address ? strchr(address, '/') : NULL;

	if (!address)
		return error_set(err, EINVAL, "eni message validation: no subnet gateway %s address in the message",
				 family);
	if (!slash || strchr(slash + 1, '/'))
		return error_set(err, EINVAL, "eni message validation: invalid subnet gateway %s address %.100s",
				 family, address);
	return 0;
}

// §12.5.1: order and texts are the official agent's. A member that is there and empty counts as there.
int acs_eni_check(const struct acs_eni *eni, struct error *err)
{
	const struct acs_eni_vlan *vlan = eni->vlan;
	int r;

	if (!eni->ipv4.count && eni->ipv6.count)
		r = check_gateway("ipv6", eni->gateway_ipv6, err);
	else if (!eni->ipv4.count)
		r = error_set(err, EINVAL, "eni message validation: no ipv4 addresses in the message");
	else
		r = check_gateway("ipv4", eni->gateway_ipv4, err);
	if (r < 0)
		return r;
	if (!eni->mac_address)
		return error_set(err, EINVAL, "eni message validation: empty eni mac address in the message");
	if (!eni->ec2_id)
		return error_set(err, EINVAL, "eni message validation: empty eni id in the message");
	if (eni->protocol && !str_equal(eni->protocol, "default") && !str_equal(eni->protocol, "vlan"))
		return error_set(err, EINVAL, "invalid interface association protocol: %.100s", eni->protocol);
	if (str_equal(eni->protocol, "vlan") &&
	    (!vlan || str_empty(vlan->vlan_id) || str_empty(vlan->trunk_mac_address)))
		return error_set(err, EINVAL, "vlan interface properties missing");
	return 0;
}

int acs_attach_eni_check(const struct acs_attach_eni *message, bool of_task, struct error *err)
{
	const struct acs_eni *enis = message->enis.items;

	if (str_empty(message->message_id))
		return error_set(err, EINVAL, "no messageId");
	if (str_empty(message->cluster_arn))
		return error_set(err, EINVAL, "no clusterArn");
	if (str_empty(message->instance_arn))
		return error_set(err, EINVAL, "no containerInstanceArn");
	if (of_task && str_empty(message->task_arn))
		return error_set(err, EINVAL, "no taskArn");
	if (message->wait_timeout_ms <= 0)
		return error_set(err, EINVAL, "no waitTimeoutMs above 0");
	if (!message->enis.count)
		return error_set(err, EINVAL, "no elasticNetworkInterfaces");
	for (size_t i = 0; i < message->enis.count; i++) {
		int r = acs_eni_check(&enis[i], err);

		if (r < 0)
			return r;
	}
	return 0;
}

// --- volumes (§12.6) ---

// "arn:partition:service:region:account:resource", of which all but "arn" may be empty.
static bool is_arn(const char *text)
{
	int colons = 0;

	if (!text || !str_starts(text, "arn:"))
		return false;
	for (; *text; text++)
		colons += *text == ':';
	return colons >= 5;
}

static const char *property(const struct acs_attachment *attachment, const char *name)
{
	const struct acs_attachment_property *properties = attachment->properties.items;

	for (size_t i = 0; i < attachment->properties.count; i++)
		if (str_equal(properties[i].name, name))
			return properties[i].value;
	return NULL;
}

static int need_properties(const struct acs_attachment *attachment, const char *const *names, struct error *err)
{
	for (; *names; names++)
		if (!property(attachment, *names))
			return error_set(err, EINVAL, "no attachment property %s", *names);
	return 0;
}

static int check_properties(const struct acs_attachment *attachment, struct error *err)
{
	static const char *const ebs[] = {
		"volumeId", "volumeSizeGib", "deviceName", "sourceVolumeHostPath", "volumeName", NULL};
	static const char *const ephemeral[] = {"volumeID",           "deviceName", "volumeSizeInGiB",
						"requestedSizeInGiB", "resourceID", NULL};
	static const char *const block[] = {"volumeID", "deviceName", NULL};
	static const char *const file_systems[] = {"xfs", "ext2", "ext3", "ext4", "ntfs"};
	const char *kind = property(attachment, "resourceType"), *file_system = property(attachment, "fileSystem");

	if (!str_equal(attachment->type, "amazonebs")) {
		if (str_equal(kind, "EphemeralStorage"))
			return need_properties(attachment, ephemeral, err);
		if (str_equal(kind, "ElasticBlockStorage"))
			return need_properties(attachment, block, err);
		return error_set(err, EINVAL, "unknown resourceType %.100s", kind ? kind : "");
	}
	for (size_t i = 0; file_system && i < ARRAY_SIZE(file_systems); i++)
		if (str_equal(file_system, file_systems[i]))
			file_system = NULL;
	if (file_system)
		return error_set(err, EINVAL, "unknown fileSystem %.100s", file_system);
	return need_properties(attachment, ebs, err);
}

int acs_attach_resource_check(const struct acs_attach_resource *message, struct error *err)
{
	const struct acs_attachment *attachment = message->attachment;
	const struct acs_attachment_property *properties;

	if (str_empty(message->message_id))
		return error_set(err, EINVAL, "no messageId");
	if (!is_arn(message->cluster_arn))
		return error_set(err, EINVAL, "clusterArn is no ARN");
	if (!is_arn(message->instance_arn))
		return error_set(err, EINVAL, "containerInstanceArn is no ARN");
	if (!attachment)
		return error_set(err, EINVAL, "no attachment");
	if (!is_arn(attachment->arn))
		return error_set(err, EINVAL, "attachmentArn is no ARN");
	properties = attachment->properties.items;
	for (size_t i = 0; i < attachment->properties.count; i++)
		if (str_empty(properties[i].name) || str_empty(properties[i].value))
			return error_set(err, EINVAL, "attachment property without name or value");
	return check_properties(attachment, err);
}
