with recursive bases (oid, base) as (
    select oid, oid from pg_catalog.pg_type where typtype <> 'd'
    union all
    select t.oid, b.base from pg_catalog.pg_type t join bases b on b.oid = t.typbasetype where t.typtype = 'd'
)
select pg_catalog.json_build_object(
    'comment', pg_catalog.obj_description(n.oid, 'pg_namespace'),
    'relations', coalesce((
        select pg_catalog.json_object_agg(c.relname, pg_catalog.json_build_object(
            'comment', pg_catalog.obj_description(c.oid, 'pg_class'),
            'columns', coalesce((
                select pg_catalog.json_object_agg(a.attname, pg_catalog.json_build_object(
                    'comment', pg_catalog.col_description(c.oid, a.attnum),
                    'required', a.attnotnull or t.typnotnull,
                    'max_length', case
                        when l.modifier = -1 then null
                        when l.type in ('pg_catalog.bpchar'::pg_catalog.regtype, 'pg_catalog.varchar'::pg_catalog.regtype)
                            then l.modifier - 4
                        when l.type in ('pg_catalog.bit'::pg_catalog.regtype, 'pg_catalog.varbit'::pg_catalog.regtype)
                            then l.modifier
                    end,
                    'values', coalesce((
                        select pg_catalog.json_agg(e.enumlabel order by e.enumsortorder)
                        from pg_catalog.pg_enum e
                        where e.enumtypid = b.base
                    ), '[]')
                ))
                from pg_catalog.pg_attribute a
                join pg_catalog.pg_type t on t.oid = a.atttypid
                join bases b on b.oid = t.oid
                cross join lateral (select
                    case t.typtype when 'd' then t.typbasetype else a.atttypid end as type,
                    case t.typtype when 'd' then t.typtypmod else a.atttypmod end as modifier
                ) l
                where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
            ), '{}')
        ))
        from pg_catalog.pg_class c
        where c.relnamespace = n.oid and c.relkind in ('r', 'v', 'm', 'f', 'p') and not c.relispartition
            and (
                not $2::boolean
                or pg_catalog.pg_has_role(c.relowner, 'usage')
                or pg_catalog.has_table_privilege(c.oid, 'select, insert, update, delete, truncate, references, trigger')
                or pg_catalog.has_any_column_privilege(c.oid, 'select, insert, update, references')
            )
    ), '{}'),
    'functions', coalesce((
        select pg_catalog.json_object_agg(p.oid, pg_catalog.json_build_object(
            'comment', pg_catalog.obj_description(p.oid, 'pg_proc'),
            -- As this transaction's search path makes them short.
            'types', case when $2::boolean then (
                select pg_catalog.json_agg(pg_catalog.format_type(u.type, null) order by u.ord)
                from unnest(p.proargtypes::oid[]) with ordinality as u (type, ord)
            ) end
        ))
        from pg_catalog.pg_proc p
        where p.pronamespace = n.oid and p.prokind = 'f'
            and (not $2::boolean or pg_catalog.has_function_privilege(p.oid, 'execute'))
    ), '{}')
)
from pg_catalog.pg_namespace n
where n.nspname::text = $1
