// Looks at HTML reports in a real browser: `node check.mjs [--pictures FOLDER] REPORT.html...`
//
// Each page, at phone, laptop and print width, light and dark: no console message, no network request, no script, axe
// finds nothing (contrast, landmarks, names), every link of the navigation leads into view, by mouse and by keyboard,
// nothing is wider than the screen, not even at 320 pixels, paper is white, and it is there within two seconds.
import { readFileSync, existsSync, statSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const browserPath = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);
const arguments_ = process.argv.slice(2);
const at = arguments_.indexOf('--pictures');
const pictures = at < 0 ? null : arguments_.splice(at, 2)[1];
const MOST_MS = 2000;
const MOST_BYTES = 5_000_000;
const LOOKS = [
  ['phone', { width: 360, height: 740 }, 'light', 'screen'],
  ['phone', { width: 360, height: 740 }, 'dark', 'screen'],
  ['laptop', { width: 1280, height: 720 }, 'light', 'screen'],
  ['laptop', { width: 1280, height: 720 }, 'dark', 'screen'],
  ['print', { width: 794, height: 1123 }, 'light', 'print'],
  ['print', { width: 794, height: 1123 }, 'dark', 'print'],
];

let failures = 0;
const fail = (page, what) => {
  failures += 1;
  console.error(`${page}: ${what}`);
};

const browser = await chromium.launch({
  executablePath: browserPath,
  args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking'],
});
for (const file of arguments_) {
  const name = basename(file, '.html');
  const url = `file://${resolve(file)}`;
  if (statSync(file).size > MOST_BYTES) fail(name, `${statSync(file).size} bytes`);
  for (const [screen, viewport, colorScheme, media] of LOOKS) {
    const look = `${name} ${screen} ${colorScheme}`;
    // axe runs inside the page, which allows no script of its own.
    const context = await browser.newContext({ viewport, colorScheme, bypassCSP: true });
    const page = await context.newPage();
    page.on('console', (message) => fail(look, `console: ${message.text()}`));
    page.on('pageerror', (error) => fail(look, `error: ${error}`));
    page.on('request', (request) => {
      if (request.url() !== url && !request.url().startsWith('data:')) fail(look, `request: ${request.url()}`);
    });
    await page.emulateMedia({ media, colorScheme });
    const begin = Date.now();
    await page.goto(url, { waitUntil: 'load' });
    await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
    const took = Date.now() - begin;
    if (took > MOST_MS) fail(look, `opened after ${took} ms`);
    const tooWide = () => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    const wide = await tooWide();
    if (wide > 0 && media === 'screen') fail(look, `${wide} pixels wider than the screen`);
    if (screen === 'phone') {
      await page.setViewportSize({ ...viewport, width: 320 });
      const narrow = await tooWide();
      if (narrow > 0) fail(look, `${narrow} pixels wider than a screen of 320`);
      await page.setViewportSize(viewport);
    }
    if (media === 'print') {
      const ground = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
      if (ground !== 'rgb(255, 255, 255)') fail(look, `paper is ${ground}`);
    }
    for (const landmark of ['main', 'header', 'nav', 'footer', 'h1']) {
      const n = await page.locator(landmark).count();
      if (n !== 1) fail(look, `${n} of <${landmark}>`);
    }
    if (await page.locator('script').count()) fail(look, 'has a script');
    const lost = await page.evaluate(() => [...document.querySelectorAll('a[href^="#"]')]
      .map((a) => a.getAttribute('href').slice(1)).filter((id) => !document.getElementById(id)));
    if (lost.length) fail(look, `links to nowhere: ${lost.slice(0, 5)}`);
    // axe looks at every element, folded ones as well; of a very large page at one look and the first sections, the
    // others are made the same way and would take minutes.
    const large = statSync(file).size >= 500_000;
    if (!large || (screen === 'laptop' && colorScheme === 'light')) {
      await page.evaluate((first) => [...document.querySelectorAll('.incident, .tl li')].slice(first)
        .forEach((section) => { section.hidden = true; }), large ? 20 : Infinity);
      await page.evaluate(() => document.querySelectorAll('details').forEach((folded) => { folded.open = true; }));
      await page.evaluate(axe);
      const found = await page.evaluate(() => axe.run(document, {
        runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice'],
      }));
      await page.evaluate(() => document.querySelectorAll('details').forEach((folded) => { folded.open = false; }));
      await page.evaluate(() => document.querySelectorAll('[hidden]').forEach((section) => { section.hidden = false; }));
      for (const violation of found.violations) {
        const where = violation.nodes.slice(0, 3).map((node) => `${node.target} ${node.failureSummary}`).join('\n    ');
        fail(look, `${violation.id}: ${violation.help} (${violation.nodes.length})\n    ${where}`);
      }
    }
    if (media === 'screen' && screen === 'laptop') {
      const inView = async (target) => {
        const seen = () => page.evaluate((id) => {
          const box = document.querySelector(id).getBoundingClientRect();
          return box.top < innerHeight && box.bottom > 0;
        }, target);
        // A page whose far parts are laid out late may take a moment.
        for (let attempt = 0; attempt < 10; attempt += 1) {
          if (await seen()) return;
          await page.waitForTimeout(100);
        }
        fail(look, `${target} is not in view after its link was followed`);
      };
      const links = page.locator('nav a, .tl a');
      const count = await links.count();
      for (let n = 0; n < count; n += count > 30 ? Math.ceil(count / 10) : 1) {
        const link = links.nth(n);
        if (!(await link.isVisible())) continue;
        await link.click();
        await inView(await link.getAttribute('href'));
      }
      // From the top, the first key leads to a link that passes over the navigation.
      await page.goto(url);
      await page.keyboard.press('Tab');
      const skip = await page.evaluate(() => document.activeElement.getAttribute('href'));
      if (skip !== '#main') fail(look, `the first stop of the keyboard is ${skip}`);
      await page.keyboard.press('Enter');
      await inView('#main');
      // What is folded opens without a mouse.
      const folded = page.locator('summary').first();
      if (await folded.count()) {
        await folded.focus();
        await page.keyboard.press('Enter');
        if (!(await folded.evaluate((summary) => summary.parentElement.open))) fail(look, 'a fold does not open');
        await page.keyboard.press('Enter');
        await folded.evaluate((summary) => summary.blur());
      }
      await page.evaluate(() => scrollTo({ top: 0, behavior: 'instant' }));
    }
    if (pictures) {
      const path = `${pictures}/${name}-${screen}-${colorScheme}.png`;
      await page.screenshot({ path, fullPage: statSync(file).size < 500_000 });
    }
    console.log(`${look}: ${took} ms`);
    await context.close();
  }
}
await browser.close();
if (failures) {
  console.error(`${failures} failures`);
  process.exit(1);
}
