-- What policies call, and who may use what. Policies all over the world are written against these four functions.

create function auth.jwt() returns jsonb language sql stable as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')
  )::jsonb
$$;

create function auth.uid() returns uuid language sql stable as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim.sub', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'
  )::uuid
$$;

create function auth.role() returns text language sql stable as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim.role', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role'
  )
$$;

create function auth.email() returns text language sql stable as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim.email', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'email'
  )
$$;

do $$
declare
  it record;
begin
  -- Whoever ran this: the objects belong to supabase_auth_admin.
  if current_user <> 'supabase_auth_admin' then
    execute 'alter schema auth owner to supabase_auth_admin';
    for it in select format('alter table auth.%I owner to supabase_auth_admin', relname) as text
      from pg_class where relnamespace = 'auth'::regnamespace and relkind = 'r'
    loop execute it.text; end loop;
    for it in select format('alter type auth.%I owner to supabase_auth_admin', typname) as text
      from pg_type where typnamespace = 'auth'::regnamespace and typtype = 'e'
    loop execute it.text; end loop;
    for it in select format('alter function %s owner to supabase_auth_admin', oid::regprocedure) as text
      from pg_proc where pronamespace = 'auth'::regnamespace
    loop execute it.text; end loop;
  end if;

  -- The API roles call the functions; the tables stay out of their reach.
  execute 'grant usage on schema auth to anon, authenticated, service_role';
  execute 'grant execute on all functions in schema auth to anon, authenticated, service_role';

  -- A slip in a grant must not open the tables: row security is on and names nobody but the people below.
  for it in select relname from pg_class
    where relnamespace = 'auth'::regnamespace and relkind = 'r' and relname <> 'schema_migrations'
  loop
    execute format('alter table auth.%I enable row level security', it.relname);
  end loop;
end
$$;

-- The project's people (the owner login, `postgres` or `postgres_<ref>`, and the dashboard) read and write the tables,
-- reference them and put triggers on them, as on Supabase.
do $$
declare
  person record;
  it record;
begin
  for person in select rolname from pg_roles
    where (rolname in ('postgres', 'dashboard_user') or rolname like 'postgres\_%')
      and has_database_privilege(oid, current_database(), 'connect')
  loop
    execute format('grant usage, create on schema auth to %I', person.rolname);
    execute format('grant execute on all functions in schema auth to %I', person.rolname);
    execute format('grant usage, select, update on all sequences in schema auth to %I', person.rolname);
    for it in select relname from pg_class
      where relnamespace = 'auth'::regnamespace and relkind = 'r' and relname <> 'schema_migrations'
    loop
      execute format('grant all on auth.%I to %I with grant option', it.relname, person.rolname);
      execute format('create policy %I on auth.%I to %I using (true) with check (true)',
        person.rolname, it.relname, person.rolname);
    end loop;
  end loop;
end
$$;
