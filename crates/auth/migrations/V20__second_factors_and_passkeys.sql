-- Challenges of second factors, and passkeys: the tables that Supabase's own auth service keeps, column for column.
-- Columns of ours come last and may be missing from an imported dump.

create table auth.mfa_challenges (
  id uuid not null constraint mfa_challenges_pkey primary key,
  factor_id uuid not null
    constraint mfa_challenges_auth_factor_id_fkey references auth.mfa_factors (id) on delete cascade,
  created_at timestamptz not null,
  verified_at timestamptz,
  ip_address inet not null,
  otp_code text,
  web_authn_session_data jsonb
);
comment on table auth.mfa_challenges is 'auth: stores metadata about challenge requests made';
create index mfa_challenge_created_at_idx on auth.mfa_challenges (created_at desc);
create index mfa_challenges_factor_id_idx on auth.mfa_challenges (factor_id);

-- The 30 seconds whose code was used last, and wrong codes since when. Two users may be challenged at one instant.
alter table auth.mfa_factors
  add column totp_step bigint,
  add column attempts integer not null default 0,
  add column attempts_since timestamptz,
  drop constraint if exists mfa_factors_last_challenged_at_key;
create index sessions_factor_id_idx on auth.sessions (factor_id) where factor_id is not null;

create table auth.webauthn_credentials (
  id uuid not null default gen_random_uuid() constraint webauthn_credentials_pkey primary key,
  user_id uuid not null references auth.users (id) on delete cascade,
  credential_id bytea not null,
  public_key bytea not null,
  attestation_type text not null default '',
  aaguid uuid,
  sign_count bigint not null default 0,
  transports jsonb not null default '[]',
  backup_eligible boolean not null default false,
  backed_up boolean not null default false,
  friendly_name text not null default '',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  last_used_at timestamptz
);
create unique index webauthn_credentials_credential_id_key on auth.webauthn_credentials (credential_id);
create index webauthn_credentials_user_id_idx on auth.webauthn_credentials (user_id);

create table auth.webauthn_challenges (
  id uuid not null default gen_random_uuid() constraint webauthn_challenges_pkey primary key,
  user_id uuid references auth.users (id) on delete cascade,
  challenge_type text not null
    constraint webauthn_challenges_challenge_type_check
    check (challenge_type in ('signup', 'registration', 'authentication')),
  session_data jsonb not null,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null
);
create index webauthn_challenges_user_id_idx on auth.webauthn_challenges (user_id);
create index webauthn_challenges_expires_at_idx on auth.webauthn_challenges (expires_at);

-- As for every table of this schema: owned by the service, row security on, open to the project's people.
do $$
declare
  tables text[] := array['mfa_challenges', 'webauthn_credentials', 'webauthn_challenges'];
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
