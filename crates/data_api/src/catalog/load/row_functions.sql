select pg_catalog.json_build_object(
    'function', pg_catalog.json_build_object('schema', n.nspname, 'name', p.proname),
    'origin', pg_catalog.json_build_object('schema', onn.nspname, 'name', o.relname),
    'target', pg_catalog.json_build_object('schema', tn.nspname, 'name', t.relname),
    'to_one', not p.proretset or p.prorows = 1
)
from pg_catalog.pg_proc p
join pg_catalog.pg_namespace n on n.oid = p.pronamespace
join pg_catalog.pg_class o on o.reltype = p.proargtypes[0] and o.relkind in ('r', 'v', 'm', 'f', 'p')
join pg_catalog.pg_namespace onn on onn.oid = o.relnamespace
join pg_catalog.pg_class t on t.reltype = p.prorettype and t.relkind in ('r', 'v', 'm', 'f', 'p')
join pg_catalog.pg_namespace tn on tn.oid = t.relnamespace
where p.pronargs = 1 and n.nspname not in ('pg_catalog', 'information_schema')
order by p.oid
