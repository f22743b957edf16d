with recursive bases (oid, base) as (
    select oid, oid from pg_catalog.pg_type where typtype <> 'd'
    union all
    select t.oid, b.base from pg_catalog.pg_type t join bases b on b.oid = t.typbasetype where t.typtype = 'd'
)
select pg_catalog.json_build_object(
    'schema', n.nspname,
    'name', c.relname,
    'is_view', c.relkind in ('v', 'm'),
    'events', case
        when c.relkind in ('r', 'p') then 28
        when c.relkind in ('v', 'f') then pg_catalog.pg_relation_is_updatable(c.oid, true)
        else 0
    end,
    'primary_key', coalesce((
        select pg_catalog.json_agg(a.attname order by a.attname)
        from pg_catalog.pg_constraint k
        join pg_catalog.pg_attribute a on a.attrelid = k.conrelid and a.attnum = any (k.conkey)
        where k.conrelid = c.oid and k.contype = 'p'
    ), '[]'),
    'columns', (
        select pg_catalog.json_agg(pg_catalog.json_build_object(
            'name', a.attname,
            'base_type', case
                when t.typtype = 'd' and bt.typnamespace = 'pg_catalog'::pg_catalog.regnamespace
                    then pg_catalog.format_type(bt.oid, null)
                when t.typtype <> 'd' and t.typnamespace = 'pg_catalog'::pg_catalog.regnamespace
                    then pg_catalog.format_type(a.atttypid, null)
                else pg_catalog.format_type(a.atttypid, a.atttypmod)
            end,
            'declared_type', pg_catalog.format_type(a.atttypid, a.atttypmod),
            'default', case
                when t.typtype = 'd' and d.oid is null then pg_catalog.pg_get_expr(t.typdefaultbin, 0)
                when a.attidentity = 'd' then (
                    select pg_catalog.format('nextval(%L)', s.objid::pg_catalog.regclass)
                    from pg_catalog.pg_depend s
                    where s.refobjid = c.oid and s.refobjsubid = a.attnum and s.deptype = 'i'
                        and s.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                    limit 1
                )
                when a.attgenerated = '' then pg_catalog.pg_get_expr(d.adbin, d.adrelid)
            end
        ) order by a.attnum)
        from pg_catalog.pg_attribute a
        join pg_catalog.pg_type t on t.oid = a.atttypid
        left join bases b on b.oid = t.oid
        left join pg_catalog.pg_type bt on bt.oid = b.base
        left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    )
)
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname::text = any ($1::text[]) and c.relkind in ('r', 'v', 'm', 'f', 'p') and not c.relispartition
