select pg_catalog.json_build_object(
    'name', k.conname,
    'kind', k.contype,
    'table_oid', k.conrelid::bigint,
    'table', pg_catalog.json_build_object('schema', n.nspname, 'name', c.relname),
    'numbers', pg_catalog.to_json(k.conkey),
    'columns', (
        select pg_catalog.json_agg(a.attname order by u.ord)
        from unnest(k.conkey) with ordinality as u (number, ord)
        join pg_catalog.pg_attribute a on a.attrelid = k.conrelid and a.attnum = u.number
    ),
    'foreign_oid', k.confrelid::bigint,
    'foreign', case when k.contype = 'f' then pg_catalog.json_build_object('schema', fn.nspname, 'name', fc.relname) end,
    'foreign_numbers', pg_catalog.to_json(k.confkey),
    'foreign_columns', (
        select pg_catalog.json_agg(a.attname order by u.ord)
        from unnest(k.confkey) with ordinality as u (number, ord)
        join pg_catalog.pg_attribute a on a.attrelid = k.confrelid and a.attnum = u.number
    )
)
from pg_catalog.pg_constraint k
join pg_catalog.pg_class c on c.oid = k.conrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
left join pg_catalog.pg_class fc on fc.oid = k.confrelid
left join pg_catalog.pg_namespace fn on fn.oid = fc.relnamespace
where k.contype in ('p', 'u', 'f') and n.nspname not in ('pg_catalog', 'information_schema')
    and (k.contype <> 'f' or k.conparentid = 0)
order by k.conrelid, k.conname
