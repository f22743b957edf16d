with media as (
    select d.oid, d.typname, n.nspname, d.typbasetype = 'pg_catalog.bytea'::pg_catalog.regtype as is_binary,
        d.typbasetype = 'pg_catalog.jsonb'::pg_catalog.regtype as is_jsonb
    from pg_catalog.pg_type d
    join pg_catalog.pg_namespace n on n.oid = d.typnamespace
    where d.typtype = 'd' and (d.typname::text ~* '^[a-z0-9.-]+/[a-z0-9.+-]+$' or d.typname = '*/*')
), handlers as (
    -- Aggregates over a relation's rows, or over anything.
    select pn.nspname as function_schema, p.proname as function_name, an.nspname as relation_schema,
        a.typname as relation_name, m.typname as media, m.is_binary, m.is_jsonb
    from media m
    join pg_catalog.pg_proc p on p.prorettype = m.oid and p.prokind = 'a' and p.pronargs = 1
    join pg_catalog.pg_namespace pn on pn.oid = p.pronamespace
    join pg_catalog.pg_type a on a.oid = p.proargtypes[0]
    join pg_catalog.pg_namespace an on an.oid = a.typnamespace
    where pn.nspname::text = any ($1::text[])
        and (a.typname = 'anyelement' or exists (
            select from pg_catalog.pg_class c where c.reltype = a.oid and c.relkind in ('r', 'v', 'm', 'f', 'p')
        ))
    union
    -- Functions that give such a value themselves.
    select m.nspname, m.typname, pn.nspname, p.proname, m.typname, m.is_binary, m.is_jsonb
    from media m
    join pg_catalog.pg_proc p on p.prorettype = m.oid and p.prokind = 'f' and not p.proretset
    join pg_catalog.pg_namespace pn on pn.oid = p.pronamespace
    where pn.nspname::text = any ($1::text[])
)
select pg_catalog.json_build_object(
    'function', pg_catalog.json_build_object('schema', function_schema, 'name', function_name),
    'relation', pg_catalog.json_build_object('schema', relation_schema, 'name', relation_name),
    'media', pg_catalog.lower(media::text),
    'is_binary', is_binary,
    'is_jsonb', is_jsonb,
    'answer', case when media = '*/*' then 'application/octet-stream' else media::text end
)
from handlers
