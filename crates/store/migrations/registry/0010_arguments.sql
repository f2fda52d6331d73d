-- Classes by argument, effects of tools, constraints on arguments, and a second owner's word.
-- What is NULL was recorded before: no rules, no effects, no constraints, nothing to wait for.
ALTER TABLE tools ADD COLUMN approved_rules TEXT;
ALTER TABLE tools ADD COLUMN approved_effects TEXT;

-- The authorization details of RFC 9396 that every call under the grant must satisfy.
ALTER TABLE grants ADD COLUMN constraints TEXT;
-- 1: does not count before somebody else than its giver confirms it.
ALTER TABLE grants ADD COLUMN awaits_second BIGINT;
ALTER TABLE grants ADD COLUMN confirmed_by TEXT;
