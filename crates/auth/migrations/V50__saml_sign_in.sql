-- What sign-in by SAML 2.0 needs beside Supabase's own tables: our key, and which assertions were used.

-- `private_key` holds `sealed1:…`: without the project's secrets it signs nothing. One row.
create table auth.saml_keys (
  id uuid not null primary key,
  private_key text not null,
  certificate text not null,
  created_at timestamptz not null,
  only_one boolean not null default true unique check (only_one)
);
comment on table auth.saml_keys is 'Auth: Our key towards identity providers of organisations.';

-- Digests of provider and assertion id: each assertion signs in once.
create table auth.saml_assertions (
  digest text not null primary key,
  expires_at timestamptz not null
);
comment on table auth.saml_assertions is 'Auth: Assertions that signed somebody in and may not do so again.';
create index saml_assertions_expires_at_idx on auth.saml_assertions (expires_at);

-- When an organisation wants the session to end that a code is exchanged for.
alter table auth.flow_state add column session_not_after timestamptz;

-- As for every table of this schema: owned by the service, row security on, open to the project's people.
do $$
declare
  tables text[] := array['saml_keys', 'saml_assertions'];
  name text;
  person record;
begin
  foreach name in array tables loop
    if current_user <> 'supabase_auth_admin' then
      execute format('alter table auth.%I owner to supabase_auth_admin', name);
    end if;
    execute format('alter table auth.%I enable row level security', name);
    for person in select rolname from pg_roles
      where (rolname in ('postgres', 'dashboard_user') or rolname like 'postgres\_%')
        and has_database_privilege(oid, current_database(), 'connect')
    loop
      execute format('grant all on auth.%I to %I with grant option', name, person.rolname);
      execute format('create policy %I on auth.%I to %I using (true) with check (true)',
        person.rolname, name, person.rolname);
    end loop;
  end loop;
end
$$;
