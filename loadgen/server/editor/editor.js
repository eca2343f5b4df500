// The page's logic, between its forms and the protocol. Text from the service is never inserted as markup.
import { check } from '/editor/channels.js'
import { parse, pretty } from '/editor/json.js'
import { RoundTrips } from '/editor/latency.js'
import { EventConnection, post } from '/editor/protocol.js'

const LOG_LENGTH = 500
const RATE_WINDOW_S = 5
const DRAW_EVERY_MS = 30
const SENDABLE = /^[\x21-\x7e]+$/ // characters allowed in a header
const $ = (id) => document.getElementById(id)

const subscriptions = new Map() // subscription id -> { channel, item, live }
const roundTrips = new RoundTrips()
const secrets = { key: '', token: '' }
let connection = null
let paused = false
let publishing = false
let total = 0
let unseen = 0 // arrived while paused
let recent = new Map() // second -> arrivals in it
let waiting = [] // arrivals not drawn yet, oldest first
let drawing = null
let seconds = null

// --- small helpers ---

function element(tag, text, className) {
  const made = document.createElement(tag)
  if (text !== undefined) made.textContent = text
  if (className) made.className = className
  return made
}

function say(name, problem, field) {
  $(`${name}-problem`).textContent = problem ?? ''
  if (field) $(field).setAttribute('aria-invalid', problem ? 'true' : 'false')
  return !problem
}

function show(state, text) {
  $('state').dataset.state = state
  $('state').textContent = text
  $('connect').textContent = { open: 'Disconnect', connecting: 'Cancel' }[state] ?? 'Connect'
  $('listen').disabled = state !== 'open'
  $('listen-hint').hidden = state === 'open'
}

function authorization() {
  const secret = $('secret').value.trim()
  return $('mode').value === 'key' ? { 'x-api-key': secret } : { Authorization: secret }
}

function credentials() {
  const secret = $('secret').value.trim()
  const name = $('secret-label').textContent
  const where = $('mode').value === 'key' ? ': the server prints it when it starts' : ''
  if (!secret) return say('login', `Type in the ${name} first${where}.`, 'secret')
  if (SENDABLE.test(secret)) return say('login', null, 'secret')
  return say('login', `The ${name} has a space or a character that no ${name} has: copy it again.`, 'secret')
}

// --- connection ---

function remember() {
  secrets[$('mode').value] = $('secret').value
  sessionStorage.setItem('mode', $('mode').value)
  for (const mode of Object.keys(secrets)) sessionStorage.setItem(mode, secrets[mode])
}

function recall() {
  const given = new URLSearchParams(location.hash.slice(1)).get('key')
  if (given) history.replaceState(null, '', location.pathname)
  for (const mode of Object.keys(secrets)) secrets[mode] = sessionStorage.getItem(mode) ?? ''
  if (given) secrets.key = given
  $('mode').value = given ? 'key' : (sessionStorage.getItem('mode') ?? 'key')
  showSecret()
}

// Opening a link with another key in this tab changes only the fragment and does not reload the page.
function onFragment() {
  if (!new URLSearchParams(location.hash.slice(1)).get('key')) return
  recall()
  if (connection) say('login', 'The new key is used from the next connection on: disconnect and connect.')
  else connect()
}

function showSecret() {
  $('secret').value = secrets[$('mode').value]
  nameSecret()
}

function nameSecret() {
  $('secret-label').textContent = $('mode').value === 'key' ? 'API key' : 'token'
}

async function connect() {
  if (!credentials()) return
  remember()
  show('connecting', 'connecting …')
  const own = new EventConnection(authorization(), { onData, onError, onClosed })
  connection = own
  try {
    await own.open()
    show('open', 'connected')
  } catch (error) {
    connection = null
    if (own.cancelled) return show('closed', 'not connected')
    show('failed', 'not connected')
    say('login', error.message)
  }
}

function onClosed(code) {
  connection = null
  subscriptions.clear()
  roundTrips.clear()
  $('subscriptions').replaceChildren()
  show(code === 1000 ? 'closed' : 'failed', code === 1000 ? 'not connected' : `connection lost (code ${code})`)
}

function disconnect() {
  connection.cancelled = true
  connection.close()
}

function onError(message) {
  say('login', message)
}

// --- subscriptions ---

async function subscribe() {
  const channel = $('subscribe-channel').value.trim()
  if (!say('subscribe', check(channel, true), 'subscribe-channel')) return
  const id = crypto.randomUUID()
  const item = element('li', undefined, 'waiting')
  const stop = element('button', 'Unsubscribe', 'quiet')
  stop.type = 'button'
  stop.disabled = true // until the service has accepted the subscription
  stop.setAttribute('aria-label', `Unsubscribe from ${channel}`)
  stop.addEventListener('click', () => unsubscribe(id, stop))
  item.append(element('code', channel), stop)
  $('subscriptions').append(item)
  const subscription = { channel, item, live: false }
  subscriptions.set(id, subscription)
  try {
    await connection.subscribe(id, channel)
    subscription.live = true
    stop.disabled = false
    item.className = ''
  } catch (error) {
    subscriptions.delete(id)
    item.remove()
    say('subscribe', error.message)
  }
}

async function unsubscribe(id, stop) {
  const { item } = subscriptions.get(id)
  stop.disabled = true
  try {
    await connection.unsubscribe(id)
  } catch (error) {
    say('subscribe', error.message)
  }
  subscriptions.delete(id)
  roundTrips.forget(id)
  item.remove()
}

// --- publishing ---

function readEvents() {
  let events
  try {
    events = parse($('events').value)
  } catch (error) {
    return [null, `This is not JSON: ${error.message}.`]
  }
  if (!Array.isArray(events)) return [null, 'Events must be a JSON array: put [ and ] around them.']
  if (events.length < 1 || events.length > 5) return [null, `There are ${events.length} events: publish 1 to 5 at once.`]
  return [events.map((event) => JSON.stringify(event)), null]
}

async function publish() {
  if (publishing) return
  const channel = $('publish-channel').value.trim()
  const [events, problem] = readEvents()
  $('answer').replaceChildren()
  if (!say('publish', check(channel, false), 'publish-channel')) return
  if (!say('publish', problem, 'events')) return
  if (!credentials()) return
  if ($('via').value === 'websocket' && !connection) {
    say('publish', 'Connect first: publishing over WebSocket uses the connection.')
    return
  }
  publishing = true
  $('send').disabled = true
  const began = performance.now()
  const takeBack = roundTrips.sent(subscriptions, channel, events, began)
  try {
    const answer = $('via').value === 'http'
      ? await post(authorization(), channel, events)
      : await connection.publish(channel, events)
    showAnswer(answer, events.length, performance.now() - began)
    for (const { index } of answer.failed ?? []) takeBack(index)
  } catch (error) {
    say('publish', error.message)
    if (!error.unanswered) events.forEach((_, index) => takeBack(index))
  } finally {
    publishing = false
    $('send').disabled = false
  }
}

function showAnswer(answer, count, elapsedMs) {
  const failed = answer.failed ?? []
  const accepted = `${count - failed.length} of ${count} accepted in ${elapsedMs.toFixed(1)} ms`
  const lines = [element('li', accepted, failed.length ? '' : 'good')]
  for (const { index, code, message } of failed) {
    lines.push(element('li', `event ${index + 1}: ${[code, message].filter((part) => part !== undefined).join(': ')}`, 'bad'))
  }
  $('answer').replaceChildren(...lines)
}

// --- events ---

// Record arrivals at once but draw them in batches, so that thousands a second do not block the page.
function onData(id, text) {
  const now = performance.now()
  const at = new Date()
  const latencyMs = roundTrips.arrived(id, text, now)
  const second = Math.floor(now / 1000)
  total += 1
  recent.set(second, (recent.get(second) ?? 0) + 1)
  if (paused) unseen += 1
  else waiting.push({ at, channel: subscriptions.get(id)?.channel ?? id, text, latencyMs })
  if (waiting.length > 2 * LOG_LENGTH) waiting = waiting.slice(-LOG_LENGTH)
  drawing ??= setTimeout(draw, DRAW_EVERY_MS)
}

function draw() {
  clearTimeout(drawing)
  drawing = null
  const fresh = waiting.slice(-LOG_LENGTH).reverse().map(entry)
  waiting = []
  $('log').prepend(...fresh)
  while ($('log').children.length > LOG_LENGTH) $('log').lastChild.remove()
  countEvents()
}

function entry({ at, channel, text, latencyMs }) {
  const clock = `${at.toLocaleTimeString([], { hourCycle: 'h23' })}.${String(at.getMilliseconds()).padStart(3, '0')}`
  const about = element('div', undefined, 'about')
  about.append(element('time', clock), element('span', channel))
  if (latencyMs !== null) about.append(element('span', `${latencyMs.toFixed(1)} ms`, 'latency'))
  const item = element('li')
  item.append(about, element('pre', pretty(text)))
  return item
}

// Returns arrivals per second over the last RATE_WINDOW_S seconds, the current one included.
function rate() {
  const first = Math.floor(performance.now() / 1000) - RATE_WINDOW_S + 1
  let count = 0
  for (const [second, arrivals] of recent) {
    if (second < first) recent.delete(second)
    else count += arrivals
  }
  return count / RATE_WINDOW_S
}

function countEvents() {
  const shown = $('log').children.length
  const parts = [`${total} received`, `${rate().toFixed(1)} a second`]
  if (total - unseen > shown) parts.push(`the last ${shown} kept`)
  if (unseen) parts.push(`${unseen} not shown while paused`)
  $('count').textContent = total ? parts.join(', ') : 'none yet'
  clearTimeout(seconds)
  if (recent.size) seconds = setTimeout(countEvents, 1000)
}

function togglePause() {
  draw() // show what arrived before the click
  paused = !paused
  $('pause').textContent = paused ? 'Go on' : 'Pause'
}

function clear() {
  total = 0
  unseen = 0
  recent.clear()
  waiting = []
  $('log').replaceChildren()
  countEvents()
}

// --- wiring ---

function onSubmit(form, action) {
  $(form).addEventListener('submit', (event) => {
    event.preventDefault()
    action()
  })
}

onSubmit('login', () => (connection ? disconnect() : connect()))
onSubmit('subscribe', subscribe)
onSubmit('publish', publish)
$('mode').addEventListener('change', showSecret)
$('secret').addEventListener('input', () => { secrets[$('mode').value] = $('secret').value })
$('show').addEventListener('click', () => {
  const hidden = $('secret').type === 'password'
  $('secret').type = hidden ? 'text' : 'password'
  $('show').textContent = hidden ? 'Hide' : 'Show'
})
for (const [name, wildcard] of [['publish', false], ['subscribe', true]]) {
  const field = `${name}-channel`
  $(field).addEventListener('input', () => say(name, check($(field).value.trim(), wildcard), field))
}
$('publish').addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
    event.preventDefault()
    publish()
  }
})
$('pause').addEventListener('click', togglePause)
$('clear').addEventListener('click', clear)
addEventListener('hashchange', onFragment)
recall()
show('closed', 'not connected')
if ($('secret').value) connect()
