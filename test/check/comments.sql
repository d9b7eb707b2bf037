-- comments: everything the extension makes, and every table and view that cdp.init()
-- makes, has a COMMENT.  Indexes, sequences, partitions, array and row types need none.
SET client_min_messages = warning;
CREATE EXTENSION cdp;
SELECT cdp.init();

CREATE TEMP TABLE bare AS
-- members of the extension
SELECT pg_describe_object(d.classid, d.objid, 0) AS object
FROM pg_depend d
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
	AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'cdp')
	AND d.classid NOT IN ('pg_cast'::regclass, 'pg_amop'::regclass, 'pg_amproc'::regclass)
	AND NOT EXISTS (SELECT FROM pg_description c WHERE (c.classoid, c.objoid, c.objsubid) = (d.classid, d.objid, 0))
	-- an array type follows its element, a row type its table
	AND NOT (d.classid = 'pg_type'::regclass
		AND EXISTS (SELECT FROM pg_type t WHERE t.oid = d.objid AND t.typelem <> 0 AND t.typlen = -1))
	-- a family that came with an operator class of its name
	AND NOT (d.classid = 'pg_opfamily'::regclass AND EXISTS (SELECT FROM pg_opclass c WHERE c.opcfamily = d.objid))
UNION ALL
-- what init makes
SELECT pg_describe_object('pg_class'::regclass, r.oid, 0)
FROM pg_class r
WHERE r.relnamespace = 'cdp'::regnamespace AND r.relkind IN ('r', 'p', 'v', 'm') AND NOT r.relispartition
	AND obj_description(r.oid, 'pg_class') IS NULL;

SELECT object FROM bare ORDER BY object;
DO $$
BEGIN
	IF EXISTS (SELECT FROM bare) THEN
		RAISE EXCEPTION '% objects without a COMMENT', (SELECT count(*) FROM bare);
	END IF;
END
$$;
