with recursive bases (oid, base) as (
    select oid, oid from pg_catalog.pg_type where typtype <> 'd'
    union all
    select t.oid, b.base from pg_catalog.pg_type t join bases b on b.oid = t.typbasetype where t.typtype = 'd'
)
select pg_catalog.json_build_object(
    'schema', n.nspname,
    'name', p.proname,
    'oid', p.oid::bigint,
    'parameters', (
        select pg_catalog.json_agg(pg_catalog.json_build_object(
            'name', coalesce(i.name, ''),
            'type', pg_catalog.format_type(i.type, null),
            'cast', case i.type
                when 'pg_catalog.bit'::pg_catalog.regtype then 'bit varying'
                when 'pg_catalog.bit[]'::pg_catalog.regtype then 'bit varying[]'
                when 'pg_catalog.bpchar'::pg_catalog.regtype then 'character varying'
                when 'pg_catalog.bpchar[]'::pg_catalog.regtype then 'character varying[]'
                else pg_catalog.format_type(i.type, null)
            end,
            'required', i.position <= p.pronargs - p.pronargdefaults,
            'variadic', i.mode = 'v'
        ) order by i.position)
        from (
            select u.type, u.name, coalesce(u.mode, 'i') as mode, pg_catalog.row_number() over (order by u.ord) as position
            from unnest(coalesce(p.proallargtypes, p.proargtypes::oid[]), p.proargnames, p.proargmodes)
                with ordinality as u (type, name, mode, ord)
            where coalesce(u.mode, 'i') in ('i', 'b', 'v')
        ) i
    ),
    'returns', pg_catalog.json_build_object(
        'schema', tn.nspname,
        'name', coalesce(r.relname, t.typname),
        'set', p.proretset,
        'composite', t.typtype = 'c' or coalesce(p.proargmodes::text[] && '{t,b,o}', false)
    ),
    'volatility', p.provolatile,
    'settings', p.proconfig
)
from pg_catalog.pg_proc p
join pg_catalog.pg_namespace n on n.oid = p.pronamespace
join bases b on b.oid = p.prorettype
join pg_catalog.pg_type t on t.oid = b.base
join pg_catalog.pg_namespace tn on tn.oid = t.typnamespace
left join pg_catalog.pg_class r on r.oid = t.typrelid
where n.nspname::text = any ($1::text[]) and p.prokind = 'f'
    and t.oid not in ('pg_catalog.trigger'::pg_catalog.regtype, 'pg_catalog.event_trigger'::pg_catalog.regtype)
order by p.oid
