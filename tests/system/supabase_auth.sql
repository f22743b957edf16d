-- Schema auth as a Supabase project has it (the tables that hold users), with rows as its own service writes them.
create extension if not exists pgcrypto;
create schema auth;
create type auth.aal_level as enum ('aal1', 'aal2', 'aal3');
create type auth.factor_type as enum ('totp', 'webauthn', 'phone');
create type auth.factor_status as enum ('unverified', 'verified');

create table auth.schema_migrations (version varchar(255) not null primary key);
insert into auth.schema_migrations values ('20171026211738'), ('20250804100000');

create table auth.instances (
  id uuid not null primary key, uuid uuid, raw_base_config text, created_at timestamptz, updated_at timestamptz
);

create table auth.users (
  instance_id uuid, id uuid not null primary key, aud varchar(255), role varchar(255), email varchar(255),
  encrypted_password varchar(255), email_confirmed_at timestamptz, invited_at timestamptz,
  confirmation_token varchar(255), confirmation_sent_at timestamptz, recovery_token varchar(255),
  recovery_sent_at timestamptz, email_change_token_new varchar(255), email_change varchar(255),
  email_change_sent_at timestamptz, last_sign_in_at timestamptz, raw_app_meta_data jsonb, raw_user_meta_data jsonb,
  is_super_admin boolean, created_at timestamptz, updated_at timestamptz, phone text default null unique,
  phone_confirmed_at timestamptz, phone_change text default '', phone_change_token varchar(255) default '',
  phone_change_sent_at timestamptz,
  confirmed_at timestamptz generated always as (least(email_confirmed_at, phone_confirmed_at)) stored,
  email_change_token_current varchar(255) default '', email_change_confirm_status smallint default 0,
  banned_until timestamptz, reauthentication_token varchar(255) default '', reauthentication_sent_at timestamptz,
  is_sso_user boolean not null default false, deleted_at timestamptz, is_anonymous boolean not null default false,
  column_of_tomorrow text default 'unknown here'
);

create table auth.identities (
  provider_id text not null, user_id uuid not null references auth.users (id) on delete cascade,
  identity_data jsonb not null, provider text not null, last_sign_in_at timestamptz, created_at timestamptz,
  updated_at timestamptz, email text generated always as (lower(identity_data ->> 'email')) stored,
  id uuid not null default gen_random_uuid() primary key, unique (provider_id, provider)
);

create table auth.sessions (
  id uuid not null primary key, user_id uuid not null references auth.users (id) on delete cascade,
  created_at timestamptz, updated_at timestamptz, factor_id uuid, aal auth.aal_level, not_after timestamptz,
  refreshed_at timestamp, user_agent text, ip inet, tag text, oauth_client_id uuid, refresh_token_hmac_key text,
  refresh_token_counter bigint, scopes text
);

create table auth.refresh_tokens (
  instance_id uuid, id bigserial primary key, token varchar(255) unique, user_id varchar(255), revoked boolean,
  created_at timestamptz, updated_at timestamptz, parent varchar(255),
  session_id uuid references auth.sessions (id) on delete cascade
);

create table auth.mfa_amr_claims (
  session_id uuid not null references auth.sessions (id) on delete cascade, created_at timestamptz not null,
  updated_at timestamptz not null, authentication_method text not null, id uuid not null primary key,
  unique (session_id, authentication_method)
);

create table auth.mfa_factors (
  id uuid not null primary key, user_id uuid not null references auth.users (id) on delete cascade,
  friendly_name text, factor_type auth.factor_type not null, status auth.factor_status not null,
  created_at timestamptz not null, updated_at timestamptz not null, secret text, phone text,
  last_challenged_at timestamptz unique, web_authn_credential jsonb, web_authn_aaguid uuid,
  last_webauthn_challenge_data jsonb
);

create table auth.audit_log_entries (
  instance_id uuid, id uuid not null primary key, payload json, created_at timestamptz,
  ip_address varchar(64) not null default ''
);

-- A table that this version does not know.
create table auth.table_of_tomorrow (id uuid primary key);
insert into auth.table_of_tomorrow values (gen_random_uuid());

insert into auth.users (
  instance_id, id, aud, role, email, encrypted_password, email_confirmed_at, confirmation_token, recovery_token,
  email_change_token_new, email_change, last_sign_in_at, raw_app_meta_data, raw_user_meta_data, created_at, updated_at
)
select '00000000-0000-0000-0000-000000000000', id::uuid, 'authenticated', 'authenticated', email,
  crypt(password, gen_salt('bf', 6)), now() - interval '30 days', '', '', '', '', now() - interval '1 day',
  '{"provider": "email", "providers": ["email"]}', jsonb_build_object('name', name, 'email_verified', true),
  now() - interval '30 days', now() - interval '1 day'
from (values
  ('11111111-1111-4111-8111-111111111111', 'ada@example.com', 'secret of ada', E'Ada \t "the first"\n\\ O''Neil; (x)'),
  ('22222222-2222-4222-8222-222222222222', 'bob@example.com', 'secret of bob', 'Bob')
) as it (id, email, password, name);

insert into auth.users (instance_id, id, aud, role, email, encrypted_password, raw_app_meta_data, created_at, banned_until)
values ('00000000-0000-0000-0000-000000000000', '33333333-3333-4333-8333-333333333333', 'authenticated',
  'authenticated', 'eve@example.com', crypt('secret of eve', gen_salt('bf', 6)), '{}', now(), now() + interval '1 year');

insert into auth.identities (provider_id, user_id, identity_data, provider, last_sign_in_at, created_at, updated_at)
select id::text, id, jsonb_build_object('sub', id, 'email', email, 'email_verified', true), 'email', now(), created_at, now()
from auth.users;

insert into auth.sessions (id, user_id, created_at, updated_at, aal, user_agent, ip)
values ('44444444-4444-4444-8444-444444444444', '11111111-1111-4111-8111-111111111111', now() - interval '1 day',
  now() - interval '1 hour', 'aal1', 'Mozilla/5.0', '192.0.2.7');

insert into auth.refresh_tokens (instance_id, token, user_id, revoked, created_at, updated_at, parent, session_id)
values
  ('00000000-0000-0000-0000-000000000000', 'oldoldold123', '11111111-1111-4111-8111-111111111111', true,
    now() - interval '1 day', now() - interval '1 hour', null, '44444444-4444-4444-8444-444444444444'),
  ('00000000-0000-0000-0000-000000000000', 'abcdefghij12', '11111111-1111-4111-8111-111111111111', false,
    now() - interval '1 hour', now() - interval '1 hour', 'oldoldold123', '44444444-4444-4444-8444-444444444444');

insert into auth.mfa_amr_claims values (
  '44444444-4444-4444-8444-444444444444', now(), now(), 'password', gen_random_uuid()
);

insert into auth.mfa_factors (id, user_id, friendly_name, factor_type, status, created_at, updated_at, secret)
values (gen_random_uuid(), '22222222-2222-4222-8222-222222222222', 'phone app', 'totp', 'verified', now(), now(),
  'JBSWY3DPEHPK3PXP');

insert into auth.audit_log_entries values (
  '00000000-0000-0000-0000-000000000000', gen_random_uuid(), '{"action": "login"}', now(), '192.0.2.7'
);
