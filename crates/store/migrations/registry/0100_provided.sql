-- Which of a person's roles and groups are their identity provider's. Who they are there stands in
-- `issuer` and `subject` (0070).
ALTER TABLE persons ADD COLUMN provided TEXT;
