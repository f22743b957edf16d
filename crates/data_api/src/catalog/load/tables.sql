with recursive domains (oid, base) as (
    select oid, typbasetype from pg_catalog.pg_type where typtype = 'd'
    union all
    select d.oid, t.typbasetype from domains d join pg_catalog.pg_type t on t.oid = d.base where t.typtype = 'd'
), bases as (
    select d.oid, t.oid as base, t.typnamespace as namespace
    from domains d
    join pg_catalog.pg_type t on t.oid = d.base
    where t.typtype <> 'd'
), relations as (
    select c.oid, n.nspname, c.relname, c.relkind, c.relhassubclass, c.relhasrules
    from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname::text = any ($1::text[]) and c.relkind in ('r', 'v', 'm', 'f', 'p') and not c.relispartition
), keys as (
    select k.conrelid, pg_catalog.json_agg(a.attname order by a.attname) as names
    from relations r
    join pg_catalog.pg_constraint k on k.conrelid = r.oid and k.contype = 'p'
    join pg_catalog.pg_attribute a on a.attrelid = k.conrelid and a.attnum = any (k.conkey)
    group by k.conrelid
), columns as (
    select a.attrelid, pg_catalog.json_agg(pg_catalog.json_build_object(
        'name', a.attname,
        'base_type', case
            when t.typtype = 'd' and b.namespace = 'pg_catalog'::pg_catalog.regnamespace
                then pg_catalog.format_type(b.base, null)
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
                where s.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
                    and s.refobjid = a.attrelid and s.refobjsubid = a.attnum and s.deptype = 'i'
                    and s.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                limit 1
            )
            when a.attgenerated = '' then pg_catalog.pg_get_expr(d.adbin, d.adrelid)
        end
    ) order by a.attnum) as list
    from relations r
    join pg_catalog.pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
    join pg_catalog.pg_type t on t.oid = a.atttypid
    left join bases b on b.oid = t.oid
    left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
    group by a.attrelid
)
select pg_catalog.json_build_object(
    'schema', r.nspname,
    'name', r.relname,
    'is_view', r.relkind in ('v', 'm'),
    'is_inherited', r.relhassubclass and r.relkind <> 'p',
    'is_plain', r.relkind = 'r' and not r.relhasrules and not exists (
        select from pg_catalog.pg_trigger t where t.tgrelid = r.oid and not t.tgisinternal
    ),
    'events', case
        when r.relkind in ('r', 'p') then 28
        when r.relkind in ('v', 'f') then pg_catalog.pg_relation_is_updatable(r.oid, true)
        else 0
    end,
    'primary_key', coalesce(k.names, '[]'),
    'columns', c.list
)
from relations r
left join keys k on k.conrelid = r.oid
left join columns c on c.attrelid = r.oid
