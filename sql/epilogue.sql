-- Everything at once. Idempotent, and the upgrade path of the data.
CREATE FUNCTION cdp.init() RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
BEGIN
	IF pg_catalog.getdatabaseencoding() <> 'UTF8' THEN
		RAISE EXCEPTION 'cdp needs a database in UTF8, this one is in %', pg_catalog.getdatabaseencoding()
			USING ERRCODE = 'feature_not_supported', HINT = 'Create the database with ENCODING ''UTF8'' TEMPLATE template0.';
	END IF;
	PERFORM cdp.init_base();
	PERFORM cdp.init_identifier();
	PERFORM cdp.init_event();
	PERFORM cdp.init_identity();
	PERFORM cdp.init_profile();
	PERFORM cdp.init_consent();
	PERFORM cdp.init_segment();
	PERFORM cdp.init_activation();
	PERFORM cdp.init_pipeline();
	PERFORM cdp.init_worker();
END
$$;
COMMENT ON FUNCTION cdp.init() IS 'Make or bring up to date the tables and views of the platform in schema cdp, as ordinary objects of the caller. Idempotent; keeps all data.';
