-- The time of the latest lease each gateway was given: a registry from a backup knows by it that a
-- lease is later than any it remembers. `issued` holds several leases, with a space between.
ALTER TABLE gateway_leases ADD COLUMN latest_ms BIGINT NOT NULL DEFAULT 0;
