-- The roles that all projects of the cluster share. None can log in, so none can enter a project's database by itself:
-- each project's logins are members of some of them and may connect to that project's database only.
-- Runs in the control database, though roles belong to the cluster; whatever exists is left as it is.
do $$
declare
    wanted record;
begin
    for wanted in
        select * from (values
            ('anon', 'nologin noinherit'),
            ('authenticated', 'nologin noinherit'),
            ('service_role', 'nologin noinherit bypassrls'),
            ('supabase_admin', 'nologin noinherit'),
            ('supabase_auth_admin', 'nologin noinherit'),
            ('supabase_storage_admin', 'nologin noinherit'),
            ('supabase_realtime_admin', 'nologin noinherit'),
            ('dashboard_user', 'nologin')
        ) as it (name, attributes)
    loop
        if not exists (select from pg_catalog.pg_roles where rolname = wanted.name) then
            execute format('create role %I %s', wanted.name, wanted.attributes);
        end if;
    end loop;
end
$$;

alter role anon set statement_timeout = '3s';
alter role authenticated set statement_timeout = '8s';

-- Nobody but the superuser has business in the template of new databases.
revoke connect on database template1 from public;
