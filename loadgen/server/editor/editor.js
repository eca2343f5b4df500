// The page's own logic: forms in, protocol out. Everything foreign reaches the page as text, never as markup.
import { check } from '/editor/channels.js'
import { EventConnection, post } from '/editor/protocol.js'

const LOG_LENGTH = 500
const RATE_WINDOW_MS = 5000
const $ = (id) => document.getElementById(id)

const subscriptions = new Map() // subscription id -> { channel, item }
const sent = new Map() // event text -> when it was sent, for the latency
let connection = null
let paused = false
let total = 0
let recent = []
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
  $('connect').textContent = state === 'open' ? 'Disconnect' : 'Connect'
  $('listen').disabled = state !== 'open'
}

function authorization() {
  const secret = $('secret').value.trim()
  return $('mode').value === 'key' ? { 'x-api-key': secret } : { Authorization: secret }
}

function credentials() {
  if ($('secret').value.trim()) return say('login', null, 'secret')
  return say('login', `Type in the ${$('secret-label').textContent} first: the server prints it when it starts.`, 'secret')
}

// --- connection ---

function remember() {
  sessionStorage.setItem('mode', $('mode').value)
  sessionStorage.setItem('secret', $('secret').value)
}

function recall() {
  const given = new URLSearchParams(location.hash.slice(1)).get('key')
  if (given) history.replaceState(null, '', location.pathname)
  $('mode').value = given ? 'key' : (sessionStorage.getItem('mode') ?? 'key')
  $('secret').value = given ?? sessionStorage.getItem('secret') ?? ''
  nameSecret()
}

function nameSecret() {
  $('secret-label').textContent = $('mode').value === 'key' ? 'API key' : 'token'
}

async function connect() {
  if (!credentials()) return
  remember()
  show('connecting', 'connecting …')
  connection = new EventConnection(authorization(), { onData, onError, onClosed })
  try {
    await connection.open()
    show('open', 'connected')
  } catch (error) {
    connection = null
    show('failed', 'not connected')
    say('login', error.message)
  }
}

function onClosed(code) {
  connection = null
  subscriptions.clear()
  $('subscriptions').replaceChildren()
  show(code === 1000 ? 'closed' : 'failed', code === 1000 ? 'not connected' : `connection lost (code ${code})`)
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
  stop.addEventListener('click', () => unsubscribe(id))
  item.append(element('code', channel), stop)
  $('subscriptions').append(item)
  subscriptions.set(id, { channel, item })
  try {
    await connection.subscribe(id, channel)
    item.className = ''
  } catch (error) {
    subscriptions.delete(id)
    item.remove()
    say('subscribe', error.message)
  }
}

async function unsubscribe(id) {
  const { item } = subscriptions.get(id)
  try {
    await connection.unsubscribe(id)
  } catch (error) {
    say('subscribe', error.message)
  }
  subscriptions.delete(id)
  item.remove()
}

// --- publishing ---

function readEvents() {
  let events
  try {
    events = JSON.parse($('events').value)
  } catch (error) {
    return [null, `This is not JSON: ${error.message}.`]
  }
  if (!Array.isArray(events)) return [null, 'Events must be a JSON array: put [ and ] around them.']
  if (events.length < 1 || events.length > 5) return [null, `There are ${events.length} events: publish 1 to 5 at once.`]
  return [events.map((event) => JSON.stringify(event)), null]
}

async function publish() {
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
  $('send').disabled = true
  const began = performance.now()
  for (const event of events) sent.set(event, began)
  try {
    const answer = $('via').value === 'http'
      ? await post(authorization(), channel, events)
      : await connection.publish(channel, events)
    showAnswer(answer, events.length, performance.now() - began)
  } catch (error) {
    say('publish', error.message)
  } finally {
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

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2)
  } catch {
    return text
  }
}

function onData(id, text) {
  const now = performance.now()
  total += 1
  recent.push(now)
  const began = sent.get(text)
  if (!paused) addToLog(subscriptions.get(id)?.channel ?? id, text, began === undefined ? null : now - began)
  countEvents()
}

function addToLog(channel, text, latencyMs) {
  const at = new Date()
  const clock = `${at.toLocaleTimeString([], { hour12: false })}.${String(at.getMilliseconds()).padStart(3, '0')}`
  const about = element('div', undefined, 'about')
  about.append(element('time', clock), element('span', channel))
  if (latencyMs !== null) about.append(element('span', `${latencyMs.toFixed(1)} ms`, 'latency'))
  const item = element('li')
  item.append(about, element('pre', pretty(text)))
  $('log').prepend(item)
  while ($('log').children.length > LOG_LENGTH) $('log').lastChild.remove()
}

function countEvents() {
  const since = performance.now() - RATE_WINDOW_MS
  recent = recent.filter((at) => at >= since)
  const rate = (recent.length * 1000) / RATE_WINDOW_MS
  const shown = Math.min(total, LOG_LENGTH)
  const cut = total > LOG_LENGTH ? `, the last ${shown} kept` : ''
  $('count').textContent = total ? `${total} received${cut}, ${rate.toFixed(1)} a second` : 'none yet'
  clearTimeout(seconds)
  if (recent.length) seconds = setTimeout(countEvents, 1000)
}

function togglePause() {
  paused = !paused
  $('pause').textContent = paused ? 'Go on' : 'Pause'
  $('pause').setAttribute('aria-pressed', String(paused))
}

function clear() {
  total = 0
  recent = []
  sent.clear()
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

onSubmit('login', () => (connection ? connection.close() : connect()))
onSubmit('subscribe', subscribe)
onSubmit('publish', publish)
$('mode').addEventListener('change', nameSecret)
$('show').addEventListener('click', () => {
  const hidden = $('secret').type === 'password'
  $('secret').type = hidden ? 'text' : 'password'
  $('show').textContent = hidden ? 'Hide' : 'Show'
  $('show').setAttribute('aria-pressed', String(hidden))
})
for (const [name, wildcard] of [['publish', false], ['subscribe', true]]) {
  const field = `${name}-channel`
  $(field).addEventListener('input', () => say(name, check($(field).value.trim(), wildcard), field))
}
$('events').addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
    event.preventDefault()
    publish()
  }
})
$('pause').addEventListener('click', togglePause)
$('clear').addEventListener('click', clear)
recall()
show('closed', 'not connected')
if ($('secret').value) connect()
