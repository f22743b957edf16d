select it.name, it.value
from (
    select 0 as rank, asked.name, pg_catalog.current_setting('pgrst.' || asked.name, true) as value
    from pg_catalog.unnest($1::text[]) as asked (name)
    union all
    select case when s.setdatabase = 0 then 1 else 2 end,
        pg_catalog.substr(pg_catalog.split_part(kept.setting, '=', 1), 7),
        pg_catalog.substr(kept.setting, pg_catalog.strpos(kept.setting, '=') + 1)
    from pg_catalog.pg_db_role_setting s
    cross join pg_catalog.unnest(s.setconfig) as kept (setting)
    where s.setrole = (select oid from pg_catalog.pg_roles where rolname = current_user)
        and s.setdatabase in (0, (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database()))
        and kept.setting like 'pgrst.%'
) it
where it.rank > 0 or it.value <> ''
order by it.rank
