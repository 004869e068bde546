// Looks at what is laid out, and writes what is wrong into the attribute data-verdict of the root.
const wrong = [];
const narrow = innerWidth < 700;
const page = document.querySelector('.gk');
const shown = (element) => element.getClientRects().length > 0 && !element.closest('defs, title, desc, script');

// The colour that a property has in the end, as red, green and blue in linear light.
const colour = (text) => text.match(/[\d.]+/g).slice(0, 3).map(Number).map((part) => {
  const share = part / 255;
  return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
});
const luminance = (text) => colour(text).reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
const contrast = (one, other) => {
  const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
};
const probe = document.createElement('i');
page.append(probe);
const named = (name) => {
  probe.style.color = `var(--${name})`;
  return getComputedStyle(probe).color;
};
const ground = named('page');
const isDark = luminance(ground) < 0.2;
for (const name of ['planned', 'fault', 'unknown', 'excluded']) {
  const found = contrast(named(name), ground);
  if (found < 3) wrong.push(`--${name} on the page has a contrast of ${found.toFixed(1)}`);
}
for (const name of ['planned', 'fault']) {
  const found = contrast(named(name), named('good'));
  if (found < 3) wrong.push(`--${name} on --good has a contrast of ${found.toFixed(1)}`);
}
probe.remove();

// Text: big enough, dark enough.
for (const element of document.querySelectorAll('.gk text, .gk p, .gk td, .gk th, .gk dt, .gk dd, .gk h1, .gk h2, .gk h3, .gk li')) {
  if (!shown(element)) continue;
  const style = getComputedStyle(element);
  const isDrawn = element.tagName === 'text';
  const scale = isDrawn ? element.getScreenCTM().a : 1;
  const size = parseFloat(style.fontSize) * scale;
  if (size < (narrow ? 9 : 11)) wrong.push(`${size.toFixed(1)} px is small: ${element.textContent}`);
  const found = contrast(isDrawn ? style.fill : style.color, ground);
  if (found < 4.5) wrong.push(`a contrast of ${found.toFixed(1)} is pale: ${element.textContent}`);
}

// Drawn text: within its picture, and no two over each other.
for (const picture of document.querySelectorAll('svg')) {
  const frame = picture.getBoundingClientRect();
  const texts = [...picture.querySelectorAll('text')].filter(shown);
  const boxes = texts.map((text) => text.getBoundingClientRect());
  boxes.forEach((box, index) => {
    if (box.left < frame.left - 0.5 || box.right > frame.right + 0.5 || box.bottom > frame.bottom + 0.5) {
      wrong.push(`cut off: ${texts[index].textContent}`);
    }
    for (let other = index + 1; other < boxes.length; other += 1) {
      const two = boxes[other];
      const wide = Math.min(box.right, two.right) - Math.max(box.left, two.left);
      const high = Math.min(box.bottom, two.bottom) - Math.max(box.top, two.top);
      if (wide > 1 && high > 3) wrong.push(`overlap: ${texts[index].textContent} / ${texts[other].textContent}`);
    }
  });
}

// The page: no wider than the screen; on a wide one nothing has to be scrolled.
if (document.documentElement.scrollWidth > innerWidth + 1) wrong.push('the page is wider than the screen');
for (const part of document.querySelectorAll('.wide')) {
  if (!narrow && part.scrollWidth > part.clientWidth + 1) wrong.push(`to be scrolled: ${part.textContent.slice(0, 40)}`);
}

// For those who do not see it: every picture has a name or is decoration, every id is there once.
for (const picture of document.querySelectorAll('svg')) {
  const names = (picture.getAttribute('aria-labelledby') || '').split(' ').filter(Boolean);
  const isNamed = names.length > 0 && names.every((name) => document.getElementById(name)?.textContent);
  if (!isNamed && picture.getAttribute('aria-hidden') !== 'true') wrong.push('a picture without a name');
}
const ids = [...document.querySelectorAll('[id]')].map((element) => element.id);
if (new Set(ids).size !== ids.length) wrong.push('an id is there twice');
if (document.querySelectorAll('th:not([scope])').length > 0) wrong.push('a head of a table without scope');

// Names of the cluster have made no elements: this script is the only one, and nothing is loaded.
if (document.querySelectorAll('script').length !== 1) wrong.push('there is a script');
if (document.querySelector('img, iframe, object, embed, link, foreignObject')) wrong.push('something is loaded');
for (const element of document.querySelectorAll('*')) {
  if ([...element.attributes].some((attribute) => attribute.name.startsWith('on'))) wrong.push('an attribute runs');
}

const verdict = wrong.length > 0 ? [...new Set(wrong)].slice(0, 12).join('; ') : 'looks well';
document.documentElement.dataset.verdict = `${isDark ? 'dark' : 'light'}: ${verdict}`;
