// Lists of a container's row in the database. Input: bindings up to a newline, then ports.
#include "engine/store_codec.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint16_t ports[3] = {1, 2, 3}, ports_again[3] = {0};
	struct container first = {.host_ports = ports, .port_count = 3};
	struct container second = {.host_ports = ports_again, .port_count = 3};
	_cleanup_free_ char *text = fuzz_text(data, size);
	char *newline = memchr(text, '\n', size);
	if (newline)
		*newline++ = '\0';
	store_decode_bindings(text, &first);
	store_decode_ports(newline, &first);
	bool plain = true; // what is stored is an address and tcp or udp: neither is ever cut inside a character
	for (size_t i = 0; i < first.binding_count; i++)
		plain = plain && is_utf8(first.bindings[i].bind_ip) && is_utf8(first.bindings[i].protocol);
	for (size_t i = 0; i < first.binding_count; i++)
		CHECK(strlen(first.bindings[i].bind_ip) < sizeof(first.bindings[i].bind_ip) &&
		      strlen(first.bindings[i].protocol) < sizeof(first.bindings[i].protocol));
	// What is written is read as the same.
	_cleanup_json_ json_object *bindings = store_encode_bindings(&first), *list = store_encode_ports(&first);
	store_decode_bindings(json_text(bindings), &second);
	store_decode_ports(json_text(list), &second);
	CHECK(memcmp(ports, ports_again, sizeof(ports)) == 0);
	CHECK(!plain || second.binding_count == first.binding_count);
	for (size_t i = 0; plain && i < first.binding_count; i++)
		CHECK(memcmp(&first.bindings[i], &second.bindings[i], sizeof(first.bindings[i])) == 0);
	free(first.bindings);
	free(second.bindings);
	return 0;
}
