// What every page has to be, whoever reads it and on whatever: checked in the browser itself.
import path from 'node:path';

const SIZES = [['narrow', 360, 740], ['wide', 1280, 900]];
const SCHEMES = ['light', 'dark'];

// Looks at the page as it is shown, in each size and colour; a picture of each where a folder is named.
export async function look(page, name, pictures) {
  await eachWay(page, async (way) => {
    const faults = await page.evaluate(inspect);
    if (faults.length > 0) throw new Error(`${name}, ${way}: ${faults.join('; ')}`);
  });
  await page.emulateMedia({ colorScheme: 'light' });
  await byKeyboard(page, name);
  // Last, since taking one puts a style of its own into the page.
  if (pictures) {
    await eachWay(page, (way) => page.screenshot({ path: path.join(pictures, `${name}-${way}.png`), fullPage: true }));
  }
}

async function eachWay(page, act) {
  for (const [size, width, height] of SIZES) {
    for (const colorScheme of SCHEMES) {
      await page.setViewportSize({ width, height });
      await page.emulateMedia({ colorScheme });
      await act(`${size}-${colorScheme}`);
    }
  }
}

// Tab reaches everything that can be used, in the order in which it is read, and shows where it is.
async function byKeyboard(page, name) {
  const wanted = await page.evaluate(controls);
  await page.evaluate(() => { document.activeElement?.blur(); getSelection().removeAllRanges(); });
  // From the top, also where the page itself put the focus somewhere.
  await page.evaluate(() => {
    const start = document.createElement('span');
    start.tabIndex = -1;
    document.body.prepend(start);
    start.focus();
  });
  const reached = [];
  for (let at = 0; at < wanted.length; at += 1) {
    await page.keyboard.press('Tab');
    reached.push(await page.evaluate(focused));
  }
  await page.evaluate(() => document.body.firstElementChild.remove());
  const order = reached.map((one) => one.is);
  if (order.join('|') !== wanted.join('|')) {
    throw new Error(`${name}: by keyboard ${order.join(', ')} instead of ${wanted.join(', ')}`);
  }
  const unseen = reached.filter((one) => !one.isShown).map((one) => one.is);
  if (unseen.length > 0) throw new Error(`${name}: no focus is shown on ${unseen.join(', ')}`);
}

/* global document, getComputedStyle, getSelection, innerHeight, innerWidth */

function controls() {
  const all = document.querySelectorAll('a[href], button, input:not([type=hidden]), select, textarea, summary');
  const shown = [...all].filter((one) => one.checkVisibility());
  // Of several radio buttons Tab reaches one; there are none.
  return shown.map((one) => `${one.tagName} ${one.id || one.textContent.trim().slice(0, 40)}`);
}

function focused() {
  const one = document.activeElement;
  const style = getComputedStyle(one);
  const box = one.getBoundingClientRect();
  const isInside = box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
  const isOutlined = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;
  return { is: `${one.tagName} ${one.id || one.textContent.trim().slice(0, 40)}`, isShown: isInside && isOutlined };
}

function inspect() {
  const faults = [];
  const root = document.documentElement;
  if (root.scrollWidth > root.clientWidth) {
    const wide = [...document.querySelectorAll('body *')].filter((one) => one.getBoundingClientRect().right > root.clientWidth + 1);
    faults.push(`scrolls sideways (${root.scrollWidth} > ${root.clientWidth}): ${wide.slice(0, 3).map((one) => one.outerHTML.slice(0, 80))}`);
  }
  if (root.lang !== 'en') faults.push('no language');
  if (!document.title) faults.push('no title');
  for (const [selector, count] of [['h1', 1], ['main', 1]]) {
    const found = document.querySelectorAll(selector).length;
    if (found !== count) faults.push(`${found} of ${selector}`);
  }
  const levels = [...document.querySelectorAll('h1, h2, h3, h4')].map((one) => Number(one.tagName[1]));
  levels.forEach((level, at) => {
    if (at > 0 && level > levels[at - 1] + 1) faults.push(`heading ${level} after ${levels[at - 1]}`);
  });
  const ids = [...document.querySelectorAll('[id]')].map((one) => one.id);
  if (new Set(ids).size !== ids.length) faults.push('an id is there twice');
  for (const one of document.querySelectorAll('[aria-describedby], [aria-labelledby]')) {
    const named = `${one.getAttribute('aria-describedby') ?? ''} ${one.getAttribute('aria-labelledby') ?? ''}`;
    for (const id of named.trim().split(/\s+/)) {
      if (!document.getElementById(id)) faults.push(`nothing is called ${id}`);
    }
  }
  for (const field of document.querySelectorAll('input:not([type=hidden]), select, textarea')) {
    const label = [...(field.labels ?? [])].map((one) => one.textContent.trim()).join('');
    if (!label) faults.push(`no label: ${field.outerHTML.slice(0, 80)}`);
  }
  for (const one of document.querySelectorAll('a[href], button, summary')) {
    if (!(one.getAttribute('aria-label') || one.textContent.trim())) faults.push(`no name: ${one.outerHTML}`);
  }
  // WCAG 2.2, 2.5.8: 24 pixels, but for links within text.
  for (const one of document.querySelectorAll('button, input:not([type=hidden]), select, textarea, nav a')) {
    const box = one.getBoundingClientRect();
    // A box with a label is as large as both.
    if (one.type !== 'checkbox' && (box.width < 24 || box.height < 24)) faults.push(`too small: ${one.outerHTML.slice(0, 60)}`);
  }
  // Our one script has an address of ours and nothing in the page.
  const ours = 'script[src$="/passkeys.js"]:empty';
  if (document.querySelectorAll(ours).length > 1) faults.push('our script is there twice');
  const foreign = `script:not(${ours}), style, [style], iframe, img`;
  if (document.querySelector(foreign)) faults.push('script, style or image');

  // WCAG 2.2, 1.4.3.
  const canvas = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([red, green, blue]) => {
    const linear = [red, green, blue].map((part) => part / 255).map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const ground = (one) => {
    for (let at = one; at; at = at.parentElement) {
      const color = rgba(getComputedStyle(at).backgroundColor);
      if (color[3] === 255) return color;
    }
    return [255, 255, 255, 255];
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const seen = new Set();
  while (texts.nextNode()) {
    const one = texts.currentNode.parentElement;
    if (!texts.currentNode.textContent.trim() || seen.has(one) || !one.checkVisibility()) continue;
    seen.add(one);
    const style = getComputedStyle(one);
    const [front, back] = [light(rgba(style.color)), light(ground(one))];
    const ratio = (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
    const size = parseFloat(style.fontSize);
    const isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (isLarge ? 3 : 4.5)) {
      faults.push(`contrast ${ratio.toFixed(2)}: ${one.outerHTML.slice(0, 80)}`);
    }
  }
  return faults;
}
