/*
 * read.c
 *		A profile as one document.
 *
 * The hot path of personalisation: a few index lookups and one jsonb, written from front to back; no plan.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "profile/profile.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

PG_FUNCTION_INFO_V1(cdp_profile_by_identifier);
PG_FUNCTION_INFO_V1(cdp_profile_by_id);

#define OF_PROFILE "profile_id OPERATOR(pg_catalog.=) $1"

static CdpLookupKind profile_row = CDP_LOOKUP("profile", "profile_pkey", 1, false,
											  "entity, traits, consents, first_seen_at, last_seen_at, event_count, computed",
											  OF_PROFILE, "profile_id", "int8");
static CdpLookupKind identities_of_profile = CDP_LOOKUP("identity", "identity_profile_id_idx", 1, false,
														"namespace, value, identifier_id", OF_PROFILE, "identifier_id", "int8");
static CdpLookupKind memberships_of_profile =
	CDP_LOOKUP("membership", "membership_pkey", 1, false, "segment", OF_PROFILE, "segment", "int8");
static CdpLookupKind accounts_of_identifier =
	CDP_LOOKUP("link", "link_related_idx", 1, false, "identifier_b, first_seen_at, last_seen_at",
			   "identifier_a OPERATOR(pg_catalog.=) $1 AND status OPERATOR(pg_catalog.=) 'related'", "identifier_b", "int8");
static CdpLookupKind identity_row = CDP_LOOKUP("identity", "identity_pkey", 1, false, "profile_id",
											   "identifier_id OPERATOR(pg_catalog.=) $1", "identifier_id", "int8");

/* The members of an object, in jsonb's order. */
typedef struct Members
{
	const char *const *names;
	int n;
	StringInfoData bytes; /* the object as it begins */
	CdpJsonbWriter object;
} Members;

static const char *const document_names[] = {"entity",	   "traits",	  "accounts",	 "consents",	 "segments",
											 "profile_id", "event_count", "identifiers", "last_seen_at", "first_seen_at"};
static const char *const account_names[] = {"traits", "profile_id", "identifiers", "last_seen_at", "first_seen_at"};
static Members document_members = {document_names, lengthof(document_names)};
static Members account_members = {account_names, lengthof(account_names)};

typedef struct Identity
{
	char *text; /* namespace:value */
	int length;
	int64 identifier_id;
} Identity;

typedef struct Identities
{
	Identity *items;
	int n;
	int capacity;
} Identities;

/* An account the person was seen with. */
typedef struct Account
{
	int64 profile_id;
	TimestampTz first_seen_at;
	TimestampTz last_seen_at;
	CdpStamped *traits; /* NULL: nothing was said */
} Account;

typedef struct Accounts
{
	Account *items;
	int n;
	int capacity;
} Accounts;

static JEntry
write_number(StringInfo out, int64 number)
{
	return cdp_jsonb_write_numeric(out, int64_to_numeric(number));
}

static JEntry
write_time(StringInfo out, TimestampTz at)
{
	char text[CDP_TIMESTAMP_BYTES];

	cdp_format_timestamp(at, text);
	return cdp_jsonb_write_string(out, text, strlen(text));
}

static JEntry
write_time_of(StringInfo out, CdpLookup *row, int column)
{
	bool isnull;
	Datum at = cdp_lookup_value(row, column, &isnull);

	return isnull ? JENTRY_ISNULL : write_time(out, DatumGetTimestampTz(at));
}

/* A stamped map of the row; NULL: nothing said. */
static CdpStamped *
read_map(CdpLookup *row, int column)
{
	bool isnull;
	Datum map = cdp_lookup_value(row, column, &isnull);

	return isnull ? NULL : DatumGetStampedP(map);
}

/* Traits, those said and those computed. */
static CdpStamped *
read_traits(CdpLookup *row)
{
	return cdp_stamped_merge(read_map(row, 1), read_map(row, 6), cdp_stamped_tie_bytes);
}

/* Begin an object whose names are always the same: they are written once, and copied from then on. */
static CdpJsonbWriter
begin_object(StringInfo out, Members *members)
{
	CdpJsonbWriter object;

	if (members->bytes.data == NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);
		StringInfoData bytes;

		initStringInfo(&bytes);
		members->object = cdp_jsonb_begin(&bytes, JB_FOBJECT, members->n);
		for (int i = 0; i < members->n; i++)
			cdp_jsonb_add(&members->object, cdp_jsonb_write_string(&bytes, members->names[i], strlen(members->names[i])));
		members->bytes = bytes;
		MemoryContextSwitchTo(caller);
	}
	object = members->object;
	object.out = out;
	object.start = out->len;
	cdp_jsonb_pad(out);
	object.entry_at += out->len;
	cdp_jsonb_append(out, members->bytes.data, members->bytes.len);
	return object;
}

#define ST_SORT sort_identities
#define ST_ELEMENT_TYPE Identity
#define ST_COMPARE(a, b) strcmp((a)->text, (b)->text)
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

/* Make "namespace:value". */
static void
join(Identity *identity, const text *name, const text *value)
{
	int name_length = VARSIZE_ANY_EXHDR(name);
	int value_length = VARSIZE_ANY_EXHDR(value);
	char *joined = palloc(name_length + value_length + 2);

	memcpy(joined, VARDATA_ANY(name), name_length);
	joined[name_length] = ':';
	memcpy(joined + name_length + 1, VARDATA_ANY(value), value_length);
	joined[name_length + 1 + value_length] = '\0';
	identity->text = joined;
	identity->length = name_length + 1 + value_length;
}

/* The profile's identifiers, sorted bytewise. */
static Identities
read_identities(int64 profile_id)
{
	Datum key[1] = {Int64GetDatum(profile_id)};
	Identities found = {0};
	CdpLookup row;
	bool isnull;

	cdp_lookup_begin(&row, &identities_of_profile, key);
	while (cdp_lookup_next(&row))
	{
		Datum name = cdp_lookup_value(&row, 0, &isnull);
		Datum value = cdp_lookup_value(&row, 1, &isnull);

		CHECK_FOR_INTERRUPTS();
		CDP_GROW(found.items, found.n, found.capacity, 16);
		join(&found.items[found.n], DatumGetTextPP(name), DatumGetTextPP(value));
		found.items[found.n++].identifier_id = DatumGetInt64(cdp_lookup_value(&row, 2, &isnull));
	}
	cdp_lookup_end(&row);
	sort_identities(found.items, found.n);
	return found;
}

static JEntry
write_identities(StringInfo out, const Identities *identities)
{
	CdpJsonbWriter array = cdp_jsonb_begin(out, JB_FARRAY, identities->n);

	for (int i = 0; i < identities->n; i++)
		cdp_jsonb_add(&array, cdp_jsonb_write_string(out, identities->items[i].text, identities->items[i].length));
	return cdp_jsonb_end(&array);
}

/* The segments the profile is in, in the order of their names. */
static JEntry
write_segments(StringInfo out, int64 profile_id)
{
	Datum key[1] = {Int64GetDatum(profile_id)};
	List *names = NIL;
	ListCell *cell;
	CdpJsonbWriter array;
	CdpLookup row;
	bool isnull;

	if (!cdp_lookup_is_empty(&memberships_of_profile))
	{
		cdp_lookup_begin(&row, &memberships_of_profile, key);
		while (cdp_lookup_next(&row))
			names = lappend(names, TextDatumGetCString(cdp_lookup_value(&row, 0, &isnull)));
		cdp_lookup_end(&row);
	}
	array = cdp_jsonb_begin(out, JB_FARRAY, list_length(names));
	foreach (cell, names)
		cdp_jsonb_add(&array, cdp_jsonb_write_string(out, lfirst(cell), strlen(lfirst(cell))));
	return cdp_jsonb_end(&array);
}

/* The profile of an identifier. */
static int64
profile_of(int64 identifier_id)
{
	Datum key[1] = {Int64GetDatum(identifier_id)};
	int64 profile_id = 0;
	CdpLookup row;
	bool isnull;

	cdp_lookup_begin(&row, &identity_row, key);
	if (cdp_lookup_next(&row))
		profile_id = DatumGetInt64(cdp_lookup_value(&row, 0, &isnull));
	cdp_lookup_end(&row);
	return profile_id;
}

/* Add the accounts that messages mention together with an identifier, one for each link. */
static void
collect_accounts(Accounts *accounts, int64 identifier_id)
{
	Datum key[1] = {Int64GetDatum(identifier_id)};
	CdpLookup link;
	bool isnull;

	cdp_lookup_begin(&link, &accounts_of_identifier, key);
	while (cdp_lookup_next(&link))
	{
		Account account = {profile_of(DatumGetInt64(cdp_lookup_value(&link, 0, &isnull)))};

		CHECK_FOR_INTERRUPTS();
		account.first_seen_at = DatumGetTimestampTz(cdp_lookup_value(&link, 1, &isnull));
		account.last_seen_at = DatumGetTimestampTz(cdp_lookup_value(&link, 2, &isnull));
		if (isnull || account.profile_id == 0)
			continue;
		CDP_GROW(accounts->items, accounts->n, accounts->capacity, 16);
		accounts->items[accounts->n++] = account;
	}
	cdp_lookup_end(&link);
}

static int
compare_account_ids(const void *a, const void *b)
{
	int64 p = ((const Account *) a)->profile_id;
	int64 q = ((const Account *) b)->profile_id;

	return p < q ? -1 : p > q;
}

/* The account seen last comes first. */
static int
compare_accounts(const void *a, const void *b)
{
	TimestampTz p = ((const Account *) a)->last_seen_at;
	TimestampTz q = ((const Account *) b)->last_seen_at;

	return p != q ? (p > q ? -1 : 1) : compare_account_ids(a, b);
}

/* Read what is known of an account; false when row security hides it. */
static bool
read_account(Account *account)
{
	Datum key[1] = {Int64GetDatum(account->profile_id)};
	CdpLookup row;
	bool is_found;

	cdp_lookup_begin(&row, &profile_row, key);
	is_found = cdp_lookup_next(&row);
	if (is_found)
	{
		CdpStamped *traits = read_traits(&row);

		account->traits = traits == NULL ? NULL : (CdpStamped *) PG_DETOAST_DATUM_COPY(PointerGetDatum(traits));
	}
	cdp_lookup_end(&row);
	return is_found;
}

/* The accounts a person belongs to. */
static Accounts
read_accounts(const Identities *identities)
{
	Accounts accounts = {0};
	int n = 0;

	if (cdp_lookup_is_empty(&accounts_of_identifier))
		return accounts;
	for (int i = 0; i < identities->n; i++)
		collect_accounts(&accounts, identities->items[i].identifier_id);
	qsort(accounts.items, accounts.n, sizeof(Account), compare_account_ids);
	for (int i = 0; i < accounts.n; i++)
	{
		const Account *account = &accounts.items[i];

		if (n > 0 && accounts.items[n - 1].profile_id == account->profile_id)
		{
			accounts.items[n - 1].first_seen_at = Min(accounts.items[n - 1].first_seen_at, account->first_seen_at);
			accounts.items[n - 1].last_seen_at = Max(accounts.items[n - 1].last_seen_at, account->last_seen_at);
		}
		else
		{
			accounts.items[n] = *account;
			n += read_account(&accounts.items[n]);
		}
	}
	accounts.n = n;
	qsort(accounts.items, n, sizeof(Account), compare_accounts);
	return accounts;
}

static JEntry
write_account(StringInfo out, const Account *account)
{
	Identities identities = read_identities(account->profile_id);
	CdpJsonbWriter object = begin_object(out, &account_members);

	cdp_jsonb_add(&object, cdp_stamped_write(out, account->traits));
	cdp_jsonb_add(&object, write_number(out, account->profile_id));
	cdp_jsonb_add(&object, write_identities(out, &identities));
	cdp_jsonb_add(&object, write_time(out, account->last_seen_at));
	cdp_jsonb_add(&object, write_time(out, account->first_seen_at));
	return cdp_jsonb_end(&object);
}

/* The accounts that a profile, if it is a person, belongs to. */
static JEntry
write_accounts(StringInfo out, const text *entity, const Identities *identities)
{
	bool is_person = VARSIZE_ANY_EXHDR(entity) == strlen("person") && memcmp(VARDATA_ANY(entity), "person", strlen("person")) == 0;
	Accounts accounts = {0};
	CdpJsonbWriter array;

	if (is_person)
		accounts = read_accounts(identities);
	array = cdp_jsonb_begin(out, JB_FARRAY, accounts.n);
	for (int i = 0; i < accounts.n; i++)
		cdp_jsonb_add(&array, write_account(out, &accounts.items[i]));
	return cdp_jsonb_end(&array);
}

/* Write the document of a profile whose row was found. */
static Jsonb *
write_document(CdpLookup *row, int64 profile_id, const Identities *identities)
{
	StringInfoData out;
	CdpJsonbWriter object;
	bool isnull;
	text *entity = DatumGetTextPP(cdp_lookup_value(row, 0, &isnull));

	cdp_jsonb_begin_document(&out, 1000);
	object = begin_object(&out, &document_members);
	cdp_jsonb_add(&object, cdp_jsonb_write_string(&out, VARDATA_ANY(entity), VARSIZE_ANY_EXHDR(entity)));
	cdp_jsonb_add(&object, cdp_stamped_write(&out, read_traits(row)));
	cdp_jsonb_add(&object, write_accounts(&out, entity, identities));
	cdp_jsonb_add(&object, cdp_stamped_write(&out, read_map(row, 2)));
	cdp_jsonb_add(&object, write_segments(&out, profile_id));
	cdp_jsonb_add(&object, write_number(&out, profile_id));
	cdp_jsonb_add(&object, write_number(&out, DatumGetInt64(cdp_lookup_value(row, 5, &isnull))));
	cdp_jsonb_add(&object, write_identities(&out, identities));
	cdp_jsonb_add(&object, write_time_of(&out, row, 4));
	cdp_jsonb_add(&object, write_time_of(&out, row, 3));
	return cdp_jsonb_end_document(&out);
}

/* The document of a profile; a null of SQL if there is none. */
static Datum
return_document(FunctionCallInfo fcinfo, int64 profile_id)
{
	Datum key[1] = {Int64GetDatum(profile_id)};
	Jsonb *document = NULL;
	Identities identities;
	CdpLookup row;

	if (profile_id == 0)
		PG_RETURN_NULL();
	cdp_lookup_begin(&row, &profile_row, key);
	identities = read_identities(profile_id); /* meanwhile the row's memory comes */
	if (cdp_lookup_next(&row))
		document = write_document(&row, profile_id, &identities);
	cdp_lookup_end(&row);
	if (document == NULL)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(document);
}

Datum
cdp_profile_by_identifier(PG_FUNCTION_ARGS)
{
	return return_document(fcinfo, cdp_identity_find(PG_GETARG_IDENTIFIER_P(0)));
}

Datum
cdp_profile_by_id(PG_FUNCTION_ARGS)
{
	return return_document(fcinfo, cdp_identity_follow(PG_GETARG_INT64(0)));
}
