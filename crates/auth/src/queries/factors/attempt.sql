-- Count an attempt on a factor before its answer is looked at, and read what it takes to look at it.
-- $1 factor, $2 user, $3 challenge, $4 session, $5 now.
with tried as (
  update auth.mfa_factors f set
    attempts = case when f.attempts_since > $5::timestamptz - interval '5 minutes' then least(f.attempts, 1000000) + 1 else 1 end,
    attempts_since = case when f.attempts_since > $5::timestamptz - interval '5 minutes' then f.attempts_since else $5::timestamptz end
  where f.id = $1 and f.user_id = $2
  returning f.*
)
select jsonb_build_object(
  'factor', to_jsonb(t),
  'challenge', (select to_jsonb(c) from auth.mfa_challenges c where c.id = $3 and c.factor_id = t.id),
  'active', (select a.token from auth.refresh_tokens a where a.session_id = $4 and not coalesce(a.revoked, false)
    order by a.id desc limit 1)
) from tried t
