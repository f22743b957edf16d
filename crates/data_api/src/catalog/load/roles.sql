select pg_catalog.json_build_object(
    'name', r.rolname,
    'settings', pg_catalog.json_agg(s.setting order by s.ord)
)
from pg_catalog.pg_roles r
join pg_catalog.pg_auth_members m on m.roleid = r.oid
cross join lateral unnest(r.rolconfig) with ordinality s (setting, ord)
join pg_catalog.pg_settings g on g.name = pg_catalog.split_part(s.setting, '=', 1)
where m.member = (select oid from pg_catalog.pg_roles where rolname = current_user)
    and (g.context = 'user' or pg_catalog.has_parameter_privilege(current_user, g.name, 'set'))
group by r.rolname
