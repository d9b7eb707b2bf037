-- activation: what leaves the house.

CREATE FUNCTION cdp.init_activation() RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET client_min_messages = error -- a publication warns when wal_level is below logical, as it may be for now
AS $$
BEGIN
	CREATE SEQUENCE IF NOT EXISTS cdp.change_id_seq;
	COMMENT ON SEQUENCE cdp.change_id_seq IS 'Ids of changes';
	CREATE TABLE IF NOT EXISTS cdp.change (
		change_id bigint NOT NULL DEFAULT nextval('cdp.change_id_seq'),
		at timestamptz NOT NULL,
		kind text NOT NULL,
		profile_id bigint NOT NULL,
		data jsonb NOT NULL
	) PARTITION BY RANGE (at);
	COMMENT ON TABLE cdp.change IS 'The change log: what happened to profiles and segments, insert-only, partitioned by month (UTC); the publication cdp_changes serves it';
	COMMENT ON COLUMN cdp.change.kind IS 'profile_changed, profile_merged, profile_split, profile_removed, segment_entered or segment_left';
	COMMENT ON COLUMN cdp.change.data IS 'profile_changed: {entity, traits, consents, identifiers}; profile_merged: {merged_profile_id}; profile_split: {split_from_profile_id}; profile_removed: {}; segment_entered and segment_left: {segment, effective_at, in UTC}';
	ALTER TABLE cdp.change ALTER data SET STATISTICS 0;
	PERFORM cdp.make_partitions('change', now(), now() + interval '2 months');

	CREATE OR REPLACE VIEW cdp.changes AS SELECT change_id, at, kind, profile_id, data FROM cdp.change;
	COMMENT ON VIEW cdp.changes IS 'The change log';

	IF NOT EXISTS (SELECT FROM pg_publication WHERE pubname = 'cdp_changes') THEN
		CREATE PUBLICATION cdp_changes FOR TABLE cdp.change WITH (publish = 'insert', publish_via_partition_root = true);
		COMMENT ON PUBLICATION cdp_changes IS 'The change log of the Customer Data Platform, for stock subscribers';
	END IF;
	PERFORM cdp.record_version('activation', 1);
END
$$;
COMMENT ON FUNCTION cdp.init_activation() IS 'Make the change log and its publication; part of cdp.init()';
