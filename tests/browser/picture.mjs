// The top of a page as a picture: `node picture.mjs PAGE.html OUT.png WIDTH HEIGHT`.
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { chromium } from 'playwright-core';

const [page, out, width, height] = process.argv.slice(2);
const executablePath = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] });
const tab = await browser.newPage({ viewport: { width: Number(width), height: Number(height) }, colorScheme: 'light' });
await tab.goto(`file://${resolve(page)}`);
await tab.screenshot({ path: out });
await browser.close();
