-- What Supabase keeps about SAML 2.0, column for column: imports keep their providers. Sign-in by SAML is not built yet.

create table auth.sso_providers (
  id uuid not null primary key,
  resource_id text constraint "resource_id not empty" check (resource_id = null or char_length(resource_id) > 0),
  created_at timestamptz,
  updated_at timestamptz,
  disabled boolean
);
comment on table auth.sso_providers is 'Auth: Identity providers of organisations.';
create unique index sso_providers_resource_id_idx on auth.sso_providers (lower(resource_id));
create index sso_providers_resource_id_pattern_idx on auth.sso_providers (resource_id text_pattern_ops);

create table auth.sso_domains (
  id uuid not null primary key,
  sso_provider_id uuid not null references auth.sso_providers (id) on delete cascade,
  domain text not null constraint "domain not empty" check (char_length(domain) > 0),
  created_at timestamptz,
  updated_at timestamptz
);
comment on table auth.sso_domains is 'Auth: Which domains of addresses belong to which provider.';
create index sso_domains_sso_provider_id_idx on auth.sso_domains (sso_provider_id);
create unique index sso_domains_domain_idx on auth.sso_domains (lower(domain));

create table auth.saml_providers (
  id uuid not null primary key,
  sso_provider_id uuid not null references auth.sso_providers (id) on delete cascade,
  entity_id text not null unique constraint "entity_id not empty" check (char_length(entity_id) > 0),
  metadata_xml text not null constraint "metadata_xml not empty" check (char_length(metadata_xml) > 0),
  metadata_url text constraint "metadata_url not empty" check (metadata_url = null or char_length(metadata_url) > 0),
  attribute_mapping jsonb,
  created_at timestamptz,
  updated_at timestamptz,
  name_id_format text
);
comment on table auth.saml_providers is 'Auth: SAML 2.0 connections to identity providers.';
create index saml_providers_sso_provider_id_idx on auth.saml_providers (sso_provider_id);

create table auth.saml_relay_states (
  id uuid not null primary key,
  sso_provider_id uuid not null references auth.sso_providers (id) on delete cascade,
  request_id text not null constraint "request_id not empty" check (char_length(request_id) > 0),
  for_email text,
  redirect_to text,
  created_at timestamptz,
  updated_at timestamptz,
  flow_state_id uuid references auth.flow_state (id) on delete cascade
);
comment on table auth.saml_relay_states is 'Auth: Sign-ins by SAML that wait for the identity provider.';
create index saml_relay_states_sso_provider_id_idx on auth.saml_relay_states (sso_provider_id);
create index saml_relay_states_for_email_idx on auth.saml_relay_states (for_email);
create index saml_relay_states_created_at_idx on auth.saml_relay_states (created_at desc);

do $$
declare
  tables text[] := array['sso_providers', 'sso_domains', 'saml_providers', 'saml_relay_states'];
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
