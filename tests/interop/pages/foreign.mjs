// Words of others on every page that shows them: the browser shows text, runs nothing, asks nobody.
import assert from 'node:assert/strict';

const BOLD = '</textarea><img src=x onerror=alert(1)>';

// The words are there to be read, and nothing of them became a part of the page.
async function isText(person, name, ...words) {
  const shown = await person.page.locator('body').innerText();
  const typed = await person.page.locator('input, textarea').evaluateAll((all) => all.map((one) => one.value));
  const text = [shown, ...typed].join('\n').replace(/\s+/g, ' ');
  for (const word of words) assert.ok(text.includes(word.replace(/\s+/g, ' ')), `${name}: ${word} is not in ${text}`);
  const parts = await person.page.evaluate(made);
  assert.deepEqual(parts, [], name);
  // No dialog, no request to anybody else, no word of the policy about one that was stopped.
  person.isQuiet(401, 404, 412);
}

/* global document */

function made() {
  const tags = 'script, img, svg, iframe, object, embed, style, base, a[href^="javascript:" i], a[href^="data:" i]';
  const all = [...document.querySelectorAll('*')];
  const handled = all.filter((one) => one.getAttributeNames().some((name) => name.startsWith('on') || name === 'autofocus'));
  return [...document.querySelectorAll(tags), ...handled].map((one) => one.outerHTML.slice(0, 100));
}

export async function foreign({ ann, bob, eve }, application, { name, title, description }) {
  await ann.open(application.ask('read:zz_read irreversible:zz_pay'));
  await isText(ann, 'consent', name, title);
  await ann.press('fieldset.irreversible input', 'Space');
  await ann.follow('button[value=allow]');
  await application.redeem((await application.returned).code);

  const note = { [title]: description, note: BOLD };
  const waits = await application.call('zz_pay', note);
  const asked = waits.result.inputRequests.approval.params.url;
  await bob.open(asked);
  await isText(bob, 'approval', name, title, description, BOLD);
  await bob.type('#reason', `${BOLD} ${title}`);
  await bob.page.locator('input[name=shown]').evaluate((one) => { one.value = 'x'.repeat(43); });
  await bob.follow('button[value=deny]');
  await isText(bob, 'approval, once more', `${BOLD} ${title}`);
  await bob.follow('button[value=deny]');
  await isText(bob, 'approval, denied', `${BOLD} ${title}`);

  await eve.open(`/traces/${asked.split('/').pop()}`);
  await isText(eve, 'trace', `${BOLD} ${title}`);
  await eve.open(`/traces/${encodeURIComponent(BOLD)}`);
  await isText(eve, 'no trace', BOLD);

  await ann.open('/consents');
  await isText(ann, 'consents', name);
}
