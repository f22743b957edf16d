-- The schemas of a project's database and who owns them.
-- The session names the project's logins: madbase.owner, madbase.authenticator, madbase.services.
do $$
declare
    owner constant text := current_setting('madbase.owner');
    place record;
begin
    for place in
        select * from (values
            ('auth', 'supabase_auth_admin'),
            ('storage', 'supabase_storage_admin'),
            ('realtime', 'supabase_realtime_admin'),
            ('graphql_public', current_user::text),
            ('extensions', current_user::text)
        ) as it (name, keeper)
    loop
        execute format('create schema if not exists %I authorization %I', place.name, place.keeper);
        execute format('alter schema %I owner to %I', place.name, place.keeper);
        execute format(
            'grant usage on schema %I to anon, authenticated, service_role, dashboard_user, %I', place.name, owner
        );
    end loop;

    execute format('grant create on schema extensions, graphql_public to %I', owner);
    execute format('grant all on schema public to %I', owner);
    execute format('grant all on all tables in schema public to %I', owner);
    execute format('grant all on all sequences in schema public to %I', owner);
    execute format('grant all on all routines in schema public to %I', owner);
    execute 'grant usage on schema public to anon, authenticated, service_role';
    -- Databases made before PostgreSQL 15 let everybody create there.
    execute 'revoke create on schema public from public';
end
$$;
