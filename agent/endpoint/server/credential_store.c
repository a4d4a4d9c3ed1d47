#include "credential_store.h"
#include "common/util.h"
#include "common/wire.h"
#include "json_out.h"
#include "table.h"

struct entry {
	struct table_node node;
	struct credential credential;
	char *block; // all texts, in one piece that is wiped
	size_t block_len;
	unsigned generation; // of the refill that named it last
	bool expected;       // by an expect of that generation
};

struct credential_store {
	struct table table;
	unsigned generation;
};

struct visitor {
	void (*visit)(const struct credential *, void *arg);
	void *arg;
	unsigned generation;
};

static struct entry *entry_new(const struct credential_texts *texts, bool pending);
static void entry_free(struct entry *entry);
static void make_body(struct credential *credential);
static int drop_any(void *node, void *arg);
static int drop_old(void *node, void *arg);
static int visit_returned(void *node, void *arg);

struct credential_store *credential_store_new(void)
{
	return xcalloc(1, sizeof(struct credential_store));
}

struct credential_store *credential_store_free(struct credential_store *store)
{
	if (!store)
		return NULL;
	table_sweep(&store->table, drop_any, NULL);
	table_free(&store->table);
	free(store);
	return NULL;
}

const struct credential *credential_get(const struct credential_store *store, const char *id)
{
	const struct entry *entry = table_get(&store->table, id);
	return entry ? &entry->credential : NULL;
}

void credential_put(struct credential_store *store, const struct credential_texts *texts)
{
	struct entry *entry = entry_new(texts, false);
	entry->generation = store->generation;
	credential_remove(store, texts->id);
	table_put(&store->table, entry);
}

void credential_remove(struct credential_store *store, const char *id)
{
	struct entry *entry = table_take(&store->table, id);
	if (entry)
		entry_free(entry);
}

void credential_refill_begin(struct credential_store *store)
{
	store->generation++;
}

void credential_expect(struct credential_store *store, const char *id, const char *task_arn, const char *role)
{
	struct entry *entry = table_get(&store->table, id);
	if (!entry) {
		entry = entry_new(&(struct credential_texts){.id = id, .task_arn = task_arn, .role = role}, true);
		table_put(&store->table, entry);
	}
	entry->expected = entry->generation != store->generation;
	entry->generation = store->generation;
}

size_t credential_refill_end(struct credential_store *store)
{
	size_t before = store->table.count;
	table_sweep(&store->table, drop_old, &store->generation);
	return before - store->table.count;
}

void credential_each_returned(const struct credential_store *store, void (*visit)(const struct credential *, void *arg),
			      void *arg)
{
	struct visitor visitor = {visit, arg, store->generation};
	struct table table = store->table; // visit_returned takes nothing out
	table_sweep(&table, visit_returned, &visitor);
}

size_t credential_count(const struct credential_store *store)
{
	return store->table.count;
}

static struct entry *entry_new(const struct credential_texts *texts, bool pending)
{
	const char *const from[] = {texts->id,
				    texts->task_arn,
				    texts->role,
				    texts->role_arn,
				    texts->access_key_id,
				    texts->secret_access_key,
				    texts->session_token,
				    texts->expiration};
	struct entry *entry = xcalloc(1, sizeof(*entry));
	struct credential *c = &entry->credential;
	const char **to[] = {&c->texts.id,
			     &c->texts.task_arn,
			     &c->texts.role,
			     &c->texts.role_arn,
			     &c->texts.access_key_id,
			     &c->texts.secret_access_key,
			     &c->texts.session_token,
			     &c->texts.expiration};
	for (size_t i = 0; i < ARRAY_SIZE(from); i++)
		entry->block_len += (from[i] ? strlen(from[i]) : 0) + 1;
	char *p = entry->block = xmalloc(entry->block_len);
	for (size_t i = 0; i < ARRAY_SIZE(from); i++) {
		*to[i] = p;
		p = stpcpy(p, from[i] ? from[i] : "") + 1;
	}
	entry->node.key = c->texts.id;
	c->pending = pending;
	c->execution_role = strcmp(c->texts.role, WIRE_ROLE_EXECUTION) == 0;
	if (!pending)
		make_body(c);
	return entry;
}

static void entry_free(struct entry *entry)
{
	explicit_bzero(entry->block, entry->block_len);
	free(entry->block);
	wire_free(entry->credential.body, entry->credential.body_len);
	free(entry);
}

// All five fields, in this order, always (credentials-endpoint.md §3).
static void make_body(struct credential *credential)
{
	const struct credential_texts *t = &credential->texts;
	const char *const parts[][2] = {{"{\"RoleArn\":", t->role_arn},
					{",\"AccessKeyId\":", t->access_key_id},
					{",\"SecretAccessKey\":", t->secret_access_key},
					{",\"Token\":", t->session_token},
					{",\"Expiration\":", t->expiration}};
	size_t max = 2;
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
		max += strlen(parts[i][0]) + json_out_max(parts[i][1]);
	char *room = xmalloc(max), *p = room;
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
		p = json_out_string(stpcpy(p, parts[i][0]), parts[i][1]);
	*p++ = '}';
	credential->body_len = (size_t)(p - room);
	credential->body = xmemdup(room, credential->body_len);
	wire_free(room, credential->body_len);
}

static int drop_any(void *node, void *arg)
{
	(void)arg;
	entry_free(node);
	return 1;
}

static int drop_old(void *node, void *arg)
{
	struct entry *entry = node;
	if (entry->generation == *(unsigned *)arg)
		return 0;
	entry_free(entry);
	return 1;
}

static int visit_returned(void *node, void *arg)
{
	struct entry *entry = node;
	struct visitor *visitor = arg;
	const struct credential *c = &entry->credential;
	if (entry->expected && entry->generation == visitor->generation && !c->pending)
		visitor->visit(c, visitor->arg);
	return 0;
}
