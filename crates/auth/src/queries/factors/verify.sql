-- A factor was answered: it counts as verified, and its session as one of level 2. $1: a Verification (see factors.rs).
-- Guards first, as in apply.sql: a challenge, a TOTP step and a refresh token are used once.
with input as materialized (
  select change as it, (change ->> 'now')::timestamptz as now from (select $1::text::jsonb as change) q
),
answered as (
  update auth.mfa_challenges c set verified_at = input.now from input
  where c.id = (it ->> 'challenge_id')::uuid and c.verified_at is null
  returning c.id
),
used as (
  update auth.mfa_factors f set
    status = 'verified', updated_at = input.now, attempts = 0, attempts_since = null,
    totp_step = coalesce((it ->> 'totp_step')::bigint, f.totp_step),
    secret = coalesce(it ->> 'secret', f.secret),
    web_authn_credential = coalesce(it -> 'credential', f.web_authn_credential),
    web_authn_aaguid = coalesce((it ->> 'aaguid')::uuid, f.web_authn_aaguid)
  from input
  where f.id = (it ->> 'factor_id')::uuid and f.user_id = (it ->> 'user_id')::uuid
    and (not it ? 'totp_step' or f.totp_step is null or f.totp_step < (it ->> 'totp_step')::bigint)
  returning f.id
),
retired as (
  update auth.refresh_tokens t set revoked = true, updated_at = input.now from input
  where t.token = it ->> 'retire' and not coalesce(t.revoked, false)
  returning t.id
),
upgraded as (
  update auth.sessions s set
    aal = 'aal2', factor_id = (it ->> 'factor_id')::uuid, updated_at = input.now,
    refresh_token_hmac_key = coalesce(s.refresh_token_hmac_key, it ->> 'session_key')
  from input
  where s.id = (it ->> 'session_id')::uuid and s.user_id = (it ->> 'user_id')::uuid
  returning s.id
),
gate as materialized (
  select it, now from input
  where exists (select from answered) and exists (select from used) and exists (select from upgraded)
    and (not it ? 'retire' or exists (select from retired))
),
-- Whoever signed in with less than this must show the factor as well.
ended as (
  delete from auth.sessions s using gate
  where s.user_id = (it ->> 'user_id')::uuid and s.id <> (it ->> 'session_id')::uuid
    and coalesce(s.aal, 'aal1') < 'aal2'
  returning s.id
),
dropped as (
  delete from auth.mfa_factors f using gate
  where f.user_id = (it ->> 'user_id')::uuid and f.id <> (it ->> 'factor_id')::uuid and f.status = 'unverified'
    and f.factor_type::text = it ->> 'factor_type'
  returning f.id
),
proved as (
  insert into auth.mfa_amr_claims (id, session_id, authentication_method, created_at, updated_at)
  select gen_random_uuid(), (it ->> 'session_id')::uuid, it ->> 'method', now, now from gate
  on conflict (session_id, authentication_method) do update set updated_at = excluded.updated_at
  returning id
),
issued as (
  insert into auth.refresh_tokens (instance_id, token, user_id, revoked, created_at, updated_at, parent, session_id)
  select '00000000-0000-0000-0000-000000000000', r.token, r.user_id, false, now, now, r.parent, r.session_id
  from gate, jsonb_populate_record(null::auth.refresh_tokens, it -> 'issue') r
  returning id
),
told as (
  insert into auth.audit_log_entries (instance_id, id, payload, created_at, ip_address)
  select '00000000-0000-0000-0000-000000000000', r.id, r.payload, now, r.ip_address
  from gate, jsonb_populate_recordset(null::auth.audit_log_entries, it -> 'audit') r
  returning id
)
select case
  when exists (select from gate) then true
  -- A guard wrote and another one failed: an error (division by zero) takes everything back.
  when exists (select from answered) or exists (select from used) or exists (select from retired)
    or exists (select from upgraded) then 1 / (select count(*) from gate) = 1
  else false
end
