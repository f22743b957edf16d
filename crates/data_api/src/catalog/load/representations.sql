select pg_catalog.json_build_object(
    'source', pg_catalog.format_type(k.castsource, null),
    'target', pg_catalog.format_type(k.casttarget, null),
    'function', k.castfunc::pg_catalog.regproc::text
)
from pg_catalog.pg_cast k
join pg_catalog.pg_type s on s.oid = k.castsource
join pg_catalog.pg_type t on t.oid = k.casttarget
where k.castcontext = 'i' and k.castmethod = 'f' and pg_catalog.has_function_privilege(k.castfunc, 'execute')
    and (
        (s.typtype = 'd' and t.oid in ('pg_catalog.json'::pg_catalog.regtype, 'pg_catalog.text'::pg_catalog.regtype))
        or (t.typtype = 'd' and s.oid in ('pg_catalog.json'::pg_catalog.regtype, 'pg_catalog.text'::pg_catalog.regtype))
    )
