select pg_catalog.json_build_object(
    'oid', c.oid::bigint,
    'schema', n.nspname,
    'name', c.relname,
    'columns', (
        select coalesce(pg_catalog.json_agg(pg_catalog.json_build_array(a.attnum, a.attname)), '[]')
        from pg_catalog.pg_attribute a
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    ),
    'definition', r.ev_action::text
)
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_rewrite r on r.ev_class = c.oid and r.ev_type = '1'
where c.relkind in ('v', 'm') and n.nspname not in ('pg_catalog', 'information_schema')
