-- Write a Change (see change.rs) whole or not at all. $1: the Change as JSON.
-- Guards first; every other part reads from `gate`, which is empty when a guard failed.
-- A line that ends in `--? part` stands only where the Change has that part; one that begins a CTE takes it along
-- (see parts.rs). PostgreSQL prepares only what it is to do: with everything, that alone took a millisecond.
with input as materialized (
  select change as it, (change ->> 'now')::timestamptz as now from (select $1::text::jsonb as change) q
),
spent as ( --? spend
  delete from auth.one_time_tokens t using input
  where t.id = (it -> 'spend' ->> 'id')::uuid and t.token_hash = it -> 'spend' ->> 'token_hash'
  returning t.id
),
saved as ( --? save
  update auth.users u set
    aud = r.aud, role = r.role, email = r.email, encrypted_password = r.encrypted_password,
    email_confirmed_at = r.email_confirmed_at, invited_at = r.invited_at,
    confirmation_sent_at = r.confirmation_sent_at, recovery_sent_at = r.recovery_sent_at,
    email_change = r.email_change, email_change_sent_at = r.email_change_sent_at,
    email_change_confirm_status = r.email_change_confirm_status, last_sign_in_at = r.last_sign_in_at,
    raw_app_meta_data = r.raw_app_meta_data, raw_user_meta_data = r.raw_user_meta_data, updated_at = input.now,
    phone = r.phone, phone_confirmed_at = r.phone_confirmed_at, phone_change = r.phone_change,
    phone_change_sent_at = r.phone_change_sent_at, reauthentication_sent_at = r.reauthentication_sent_at,
    banned_until = r.banned_until, deleted_at = r.deleted_at, is_anonymous = r.is_anonymous
  from input, jsonb_populate_record(null::auth.users, it -> 'save' -> 'row') r
  where u.id = r.id and u.xmin::text = it -> 'save' ->> 'version'
    and exists (select from spent) --? spend
  returning u.id
),
retired as ( --? retire
  update auth.refresh_tokens t set revoked = true, updated_at = input.now from input
  where t.token = it ->> 'retire' and not coalesce(t.revoked, false)
  returning t.id
),
finished as ( --? finish_flow
  delete from auth.flow_state f using input where f.id = (it ->> 'finish_flow')::uuid returning f.id
),
claimed as ( --? claim
  update auth.flow_state f set
    user_id = (it -> 'claim' ->> 'user_id')::uuid, auth_code = it -> 'claim' ->> 'auth_code',
    auth_code_issued_at = input.now, updated_at = input.now,
    provider_access_token = it -> 'claim' ->> 'provider_access_token',
    provider_refresh_token = it -> 'claim' ->> 'provider_refresh_token',
    session_not_after = (it -> 'claim' ->> 'session_not_after')::timestamptz
  from input where f.id = (it -> 'claim' ->> 'id')::uuid and f.user_id is null
  returning f.id
),
redeemed as ( --? redeem
  delete from auth.oauth_authorizations a using input where a.id = (it ->> 'redeem')::uuid returning a.id
),
touched as ( --? touch
  update auth.users u set
    last_sign_in_at = input.now, updated_at = input.now,
    encrypted_password = coalesce(it -> 'touch' ->> 'encrypted_password', u.encrypted_password)
  from input
  where u.id = (it -> 'touch' ->> 'user_id')::uuid
    and (not it -> 'touch' ? 'expected' or u.encrypted_password = it -> 'touch' ->> 'expected')
    and exists (select from finished) --? finish_flow
  returning u.id
),
gate as materialized (
  select it, now from input
  where true
    and exists (select from spent) --? spend
    and exists (select from saved) --? save
    and exists (select from retired) --? retire
    and exists (select from finished) --? finish_flow
    and exists (select from claimed) --? claim
    and exists (select from redeemed) --? redeem
    and exists (select from touched) --? touch
),
created as ( --? create
  insert into auth.users (
    instance_id, id, aud, role, email, encrypted_password, email_confirmed_at, invited_at, confirmation_token,
    confirmation_sent_at, recovery_token, recovery_sent_at, email_change_token_new, email_change,
    email_change_sent_at, last_sign_in_at, raw_app_meta_data, raw_user_meta_data, created_at, updated_at, phone,
    phone_confirmed_at, banned_until, is_sso_user, is_anonymous
  )
  select '00000000-0000-0000-0000-000000000000', r.id, r.aud, r.role, r.email, r.encrypted_password,
    r.email_confirmed_at, r.invited_at, '', r.confirmation_sent_at, '', r.recovery_sent_at, '', '', null,
    r.last_sign_in_at, r.raw_app_meta_data, r.raw_user_meta_data, r.created_at, r.updated_at, r.phone,
    r.phone_confirmed_at, r.banned_until, r.is_sso_user, r.is_anonymous
  from gate, jsonb_populate_recordset(null::auth.users, it -> 'create') r
  returning id
),
linked as ( --? identities
  insert into auth.identities (id, provider_id, user_id, identity_data, provider, last_sign_in_at, created_at, updated_at)
  select r.id, r.provider_id, r.user_id, r.identity_data, r.provider, r.last_sign_in_at, r.created_at, r.updated_at
  from gate, jsonb_populate_recordset(null::auth.identities, it -> 'identities') r
  on conflict (provider_id, provider) do update set
    identity_data = excluded.identity_data, last_sign_in_at = excluded.last_sign_in_at, updated_at = excluded.updated_at
  where auth.identities.user_id = excluded.user_id
  returning id
),
disowned as ( --? disown
  delete from auth.identities i using gate
  where i.id in (select value::uuid from jsonb_array_elements_text(it -> 'disown'))
  returning i.id
),
cleared as ( --? clear
  delete from auth.one_time_tokens t using gate where t.user_id = (it ->> 'clear')::uuid returning t.id
),
mailed as ( --? mail
  insert into auth.one_time_tokens (id, user_id, token_type, token_hash, relates_to, created_at, updated_at, attempts)
  select r.id, r.user_id, r.token_type, r.token_hash, r.relates_to, now at time zone 'utc', now at time zone 'utc', 0
  from gate, jsonb_populate_recordset(null::auth.one_time_tokens, it -> 'mail') r
  on conflict (user_id, token_type) do update set
    id = excluded.id, token_hash = excluded.token_hash, relates_to = excluded.relates_to,
    created_at = excluded.created_at, updated_at = excluded.updated_at, attempts = 0
  returning id
),
posted as ( --? outbox
  insert into auth.mail_outbox (id, mail, created_at, due_at)
  select r.id, r.mail, now, now + interval '10 minutes'
  from gate, jsonb_populate_recordset(null::auth.mail_outbox, it -> 'outbox') r
  returning id
),
flowing as ( --? flows
  insert into auth.flow_state (
    id, user_id, auth_code, code_challenge_method, code_challenge, provider_type, authentication_method,
    auth_code_issued_at, created_at, updated_at
  )
  select r.id, r.user_id, r.auth_code, r.code_challenge_method, r.code_challenge, r.provider_type,
    r.authentication_method, r.auth_code_issued_at, now, now
  from gate, jsonb_populate_recordset(null::auth.flow_state, it -> 'flows') r
  on conflict (id) do update set
    auth_code = excluded.auth_code, auth_code_issued_at = excluded.auth_code_issued_at, updated_at = excluded.updated_at
  returning id
),
ended as ( --? end
  delete from auth.sessions s using gate
  where s.user_id = (it -> 'end' ->> 'user_id')::uuid
    and (it -> 'end' ->> 'only' is null or s.id = (it -> 'end' ->> 'only')::uuid)
    and s.id is distinct from (it -> 'end' ->> 'except')::uuid
  returning s.id
),
outlived as ( --? outlive
  update auth.sessions s set not_after = now from gate
  where s.user_id = (it ->> 'outlive')::uuid and (s.not_after is null or s.not_after > now)
  returning s.id
),
opened as ( --? open
  insert into auth.sessions (
    id, user_id, created_at, updated_at, aal, not_after, user_agent, ip, refresh_token_hmac_key, oauth_client_id, scopes
  )
  select r.id, r.user_id, r.created_at, r.updated_at, r.aal, r.not_after, r.user_agent, r.ip, r.refresh_token_hmac_key,
    r.oauth_client_id, r.scopes
  from gate, jsonb_populate_recordset(null::auth.sessions, it -> 'open') r
  returning id
),
proved as ( --? methods
  insert into auth.mfa_amr_claims (id, session_id, authentication_method, created_at, updated_at)
  select r.id, r.session_id, r.authentication_method, now, now
  from gate, jsonb_populate_recordset(null::auth.mfa_amr_claims, it -> 'methods') r
  returning id
),
refreshed as ( --? refresh
  update auth.sessions s set
    refreshed_at = gate.now at time zone 'utc', updated_at = gate.now, user_agent = r.user_agent, ip = r.ip,
    refresh_token_hmac_key = coalesce(s.refresh_token_hmac_key, r.refresh_token_hmac_key)
  from gate, jsonb_populate_record(null::auth.sessions, it -> 'refresh') r
  where s.id = r.id
  returning s.id
),
issued as ( --? issue
  insert into auth.refresh_tokens (instance_id, token, user_id, revoked, created_at, updated_at, parent, session_id)
  select '00000000-0000-0000-0000-000000000000', r.token, r.user_id, false, now, now, r.parent, r.session_id
  from gate, jsonb_populate_recordset(null::auth.refresh_tokens, it -> 'issue') r
  returning id
),
told as ( --? audit
  insert into auth.audit_log_entries (instance_id, id, payload, created_at, ip_address)
  select '00000000-0000-0000-0000-000000000000', r.id, r.payload, now, r.ip_address
  from gate, jsonb_populate_recordset(null::auth.audit_log_entries, it -> 'audit') r
  returning id
),
done as (
  select it from gate
)
select case
  when exists (select from done) then true
    -- An identity of somebody else is in the way: take everything back.
    and ((select count(*) from linked) = (select jsonb_array_length(it -> 'identities') from done) --? identities
      or 1 / (select count(*) from linked where false) = 1) --? identities
  -- A guard wrote and another one failed: an error (division by zero) takes everything back.
  when false
    or exists (select from spent) --? spend
    or exists (select from saved) --? save
    or exists (select from retired) --? retire
    or exists (select from finished) --? finish_flow
    or exists (select from claimed) --? claim
    or exists (select from redeemed) --? redeem
    or exists (select from touched) --? touch
    then 1 / (select count(*) from done) = 1
  else false
end
