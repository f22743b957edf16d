-- Providers of a project's own, and our half of PKCE towards providers; column for column as Supabase has them.

create table auth.oauth_client_states (
  id uuid not null primary key,
  provider_type text not null,
  code_verifier text,
  created_at timestamptz not null
);
comment on table auth.oauth_client_states is
  'Auth: What we must remember of flows in which we are the client of an identity provider.';
create index idx_oauth_client_states_created_at on auth.oauth_client_states (created_at);

-- `client_secret` holds `sealed1:…`. Imports may hold plain text. That addresses are public and encrypted is checked
-- whenever one is used: the project's people may write this table.
create table auth.custom_oauth_providers (
  id uuid not null primary key default gen_random_uuid(),
  provider_type text not null check (provider_type in ('oauth2', 'oidc')),
  identifier text not null constraint custom_oauth_providers_identifier_key unique
    constraint custom_oauth_providers_identifier_format check (identifier ~ '^[a-z0-9][a-z0-9:-]{0,48}[a-z0-9]$'),
  name text not null constraint custom_oauth_providers_name_length check (char_length(name) between 1 and 100),
  client_id text not null
    constraint custom_oauth_providers_client_id_length check (char_length(client_id) between 1 and 512),
  client_secret text not null,
  acceptable_client_ids text[] not null default '{}',
  scopes text[] not null default '{}',
  pkce_enabled boolean not null default true,
  attribute_mapping jsonb not null default '{}',
  authorization_params jsonb not null default '{}',
  enabled boolean not null default true,
  email_optional boolean not null default false,
  issuer text
    constraint custom_oauth_providers_issuer_length check (char_length(issuer) between 1 and 2048),
  discovery_url text
    constraint custom_oauth_providers_discovery_url_length check (char_length(discovery_url) <= 2048),
  skip_nonce_check boolean not null default false,
  cached_discovery jsonb,
  discovery_cached_at timestamptz,
  authorization_url text
    constraint custom_oauth_providers_authorization_url_length check (char_length(authorization_url) <= 2048),
  token_url text
    constraint custom_oauth_providers_token_url_length check (char_length(token_url) <= 2048),
  userinfo_url text
    constraint custom_oauth_providers_userinfo_url_length check (char_length(userinfo_url) <= 2048),
  jwks_uri text
    constraint custom_oauth_providers_jwks_uri_length check (char_length(jwks_uri) <= 2048),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  custom_claims_allowlist text[] not null default '{}',
  constraint custom_oauth_providers_oidc_requires_issuer check (provider_type <> 'oidc' or issuer is not null),
  constraint custom_oauth_providers_oauth2_requires_endpoints check (
    provider_type <> 'oauth2'
    or (authorization_url is not null and token_url is not null and userinfo_url is not null)
  )
);
create index custom_oauth_providers_created_at_idx on auth.custom_oauth_providers (created_at);

-- As for every table of this schema: owned by the service, row security on, open to the project's people.
do $$
declare
  tables text[] := array['oauth_client_states', 'custom_oauth_providers'];
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
