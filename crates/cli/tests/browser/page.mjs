// Opens the live page of a running loop in Chromium, in light and dark, on a desk and on a phone, and says what is wrong with
// it; screenshots go to a folder. Needs playwright-core (`npm i playwright-core`) in the present folder and Chromium.
//
//     node page.mjs http://127.0.0.1:8080 FOLDER [events]
//
// With `events` it waits for an event with a snapshot, too.
import { createRequire } from 'node:module';

const { chromium } = createRequire(process.cwd() + '/')('playwright-core');
const [base, out, events] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || '/usr/bin/chromium', args: ['--no-sandbox'] });
const faults = [];
for (const [name, width, height, scheme] of [['desk-light', 1200, 1000, 'light'], ['desk-dark', 1200, 1000, 'dark'], ['phone-light', 360, 740, 'light'], ['phone-dark', 360, 740, 'dark']]) {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: scheme, deviceScaleFactor: name.startsWith('phone') ? 2 : 1 });
  const page = await context.newPage();
  page.on('console', m => { if (['error', 'warning'].includes(m.type())) faults.push(name + ' console: ' + m.text()); });
  page.on('pageerror', e => faults.push(name + ' error: ' + e.message));
  page.on('request', r => { if (!r.url().startsWith(base) && !r.url().startsWith('blob:' + base) && !r.url().startsWith('data:')) faults.push(name + ' foreign: ' + r.url()); });
  await page.goto(base);
  await page.waitForFunction(() => document.getElementById('link').textContent === 'live', null, { timeout: 15000 });
  await page.waitForFunction(() => !document.getElementById('picture').hidden, null, { timeout: 15000 });
  const numbers = () => page.evaluate(() => [document.getElementById('picture').src, document.getElementById('how').textContent, document.getElementById('loop').textContent]);
  const first = await numbers();
  await page.waitForTimeout(1500);
  const second = await numbers();
  first.forEach((value, i) => { if (value === second[i]) faults.push(name + ' stands still: ' + value); });
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  if (wide > 0) faults.push(name + ' is wider than the screen by ' + wide);
  if (events === 'events') {
    await page.waitForSelector('#events li img', { timeout: 20000 });
    await page.waitForFunction(() => document.querySelector('#events li img').naturalWidth > 0, null, { timeout: 5000 });
    console.log(name, 'events', await page.evaluate(() => document.querySelectorAll('#events li').length));
  }
  await page.screenshot({ path: out + '/' + name + '.png', fullPage: true });
  await context.close();
}
await browser.close();
console.log(faults.length ? faults.join('\n') : 'no faults');
process.exit(faults.length ? 1 : 0);
