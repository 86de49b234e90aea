{{/* The pod of the proxy, the same in every kind of workload. */}}

{{- define "lighterage.pod" -}}
{{- $secrets := include "lighterage.secrets" . | fromYamlArray -}}
metadata:
  labels:
    {{- include "lighterage.labels" (dict "root" . "component" "proxy" "labels" .Values.podLabels) | nindent 4 }}
  annotations:
    {{- $annotations := dict "kubectl.kubernetes.io/default-container" "lighterage" }}
    {{- if not .Values.existingConfigMap }}
    {{- $_ := set $annotations "lighterage/fixed-settings" (include "lighterage.settings.fixed" .) }}
    {{- end }}
    {{- merge (dict) (.Values.podAnnotations | default dict) (.Values.commonAnnotations | default dict) $annotations | toYaml | nindent 4 }}
spec:
  serviceAccountName: {{ include "lighterage.serviceAccount" . | quote }}
  automountServiceAccountToken: false
  # A Service of this name would set LIGHTERAGE_PORT and the like.
  enableServiceLinks: false
  {{- if kindIs "bool" .Values.hostUsers }}
  hostUsers: {{ .Values.hostUsers }}
  {{- end }}
  {{- with include "lighterage.pullSecrets" . }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with .Values.dnsPolicy }}
  dnsPolicy: {{ . }}
  {{- end }}
  {{- with .Values.dnsConfig }}
  dnsConfig:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . | quote }}
  {{- end }}
  securityContext:
    {{- $forbidden := ternary (list "fsGroup") (list) (.Capabilities.APIVersions.Has "security.openshift.io/v1") }}
    {{- range $key, $value := .Values.podSecurityContext }}
    {{- if not (or (has $key $forbidden) (kindIs "invalid" $value)) }}
    {{- dict $key $value | toYaml | nindent 4 }}
    {{- end }}
    {{- end }}
  terminationGracePeriodSeconds: {{ include "lighterage.gracePeriod" . }}
  {{- if or .Values.initContainers .Values.storage.hostPath }}
  initContainers:
    {{- if .Values.storage.hostPath }}
    {{- include "lighterage.pod.owner" . | nindent 4 }}
    {{- end }}
    {{- with .Values.initContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
  containers:
    - name: lighterage
      image: {{ include "lighterage.image" (dict "root" . "image" .Values.image "tag" .Chart.AppVersion) }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args:
        - serve
        - --config=/etc/lighterage/lighterage.yaml
        - --listen={{ .Values.listenHost }}:5000
        - --admin-listen={{ .Values.listenHost }}:5080
        - --data=/var/lib/lighterage
        {{- with .Values.extraArgs }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      env:
        - {name: LIGHTERAGE_SECRETS_DIR, value: /run/lighterage/settings}
        {{- if .Values.existingConfigMap }}
        # What the chart's own ConfigMap would have.
        {{- range $section, $settings := include "lighterage.derived" . | fromYaml }}
        - name: LIGHTERAGE_{{ upper $section }}
          value: {{ toJson $settings | quote }}
        {{- end }}
        {{- end }}
        {{- if include "lighterage.peers.isOn" . }}
        - name: POD_IP
          valueFrom: {fieldRef: {fieldPath: status.podIP}}
        - {name: LIGHTERAGE_PEERS__ADVERTISE, value: "$(POD_IP):{{ .Values.peers.port }}"}
        {{- end }}
        {{- with .Values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with .Values.extraEnvFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - name: registry
          containerPort: 5000
          {{- with .Values.hostPort }}
          hostPort: {{ . }}
          {{- end }}
        - name: admin
          containerPort: 5080
        {{- if include "lighterage.peers.isOn" . }}
        - name: peers
          containerPort: {{ .Values.peers.port }}
        {{- end }}
      # It listens only when its store is open; hashing what an interrupted transfer left comes later.
      startupProbe:
        httpGet: {path: /healthz, port: admin}
        periodSeconds: 1
        failureThreshold: 60
      livenessProbe:
        httpGet: {path: /healthz, port: admin}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
        # A proxy that hangs finishes no transfers: it does not get the pod's time for them.
        terminationGracePeriodSeconds: 10
      # Of itself only: without upstream or Redis it serves what it has.
      readinessProbe:
        httpGet: {path: /readyz, port: admin}
        periodSeconds: 5
        timeoutSeconds: 3
      {{- with .Values.shutdown.preStopSeconds }}
      lifecycle:
        preStop:
          sleep: {seconds: {{ . }}}
      {{- end }}
      securityContext:
        {{- toYaml .Values.securityContext | nindent 8 }}
      {{- with .Values.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      volumeMounts:
        - {name: data, mountPath: /var/lib/lighterage}
        # A directory, and not a file by subPath: that would never change while the pod runs.
        - {name: settings, mountPath: /etc/lighterage, readOnly: true}
        {{- if $secrets }}
        - {name: secrets, mountPath: /run/lighterage, readOnly: true}
        {{- end }}
        - {name: tmp, mountPath: /tmp}
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- with .Values.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    - name: settings
      configMap:
        name: {{ default (include "lighterage.fullname" .) .Values.existingConfigMap | quote }}
        items: [{key: lighterage.yaml, path: lighterage.yaml}]
    {{- with $secrets }}
    - name: secrets
      projected:
        # Readable by any user that the pod may run as; 0440 would need an fsGroup.
        defaultMode: 0444
        sources: {{- toYaml . | nindent 10 }}
    {{- end }}
    - name: tmp
      emptyDir: {sizeLimit: 64Mi}
    {{- if .Values.storage.hostPath }}
    - name: data
      hostPath: {path: {{ .Values.storage.hostPath | quote }}, type: DirectoryOrCreate}
    {{- else if has .Values.storage.layout (list "none" "bucket" "nodes") }}
    - name: data
      emptyDir: {sizeLimit: {{ .Values.storage.size }}}
    {{- else if .Values.storage.existingClaim }}
    - name: data
      persistentVolumeClaim:
        claimName: {{ .Values.storage.existingClaim | quote }}
    {{- end }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- include "lighterage.placement" . | nindent 2 }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if ne (include "lighterage.kind" .) "DaemonSet" }}
  topologySpreadConstraints:
    {{- if kindIs "slice" .Values.topologySpreadConstraints }}
    {{- toYaml .Values.topologySpreadConstraints | nindent 4 }}
    {{- else }}
    {{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
    - maxSkew: 1
      topologyKey: {{ $key }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "lighterage.selector" $ | nindent 10 }}
    {{- end }}
    {{- end }}
  {{- end }}
{{- end -}}

{{/* Gives a directory of the node, which the kubelet makes for root, to the user that the proxy runs as. */}}
{{- define "lighterage.pod.owner" -}}
{{- $user := get .Values.podSecurityContext "runAsUser" | default 65532 | int64 -}}
- name: owner
  image: {{ include "lighterage.image" (dict "root" . "image" .Values.image "tag" .Chart.AppVersion) }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command: [python3, -c, "import os; os.chown('/var/lib/lighterage', {{ $user }}, {{ $user }})"]
  securityContext:
    runAsUser: 0
    runAsNonRoot: false
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities: {drop: [ALL], add: [CHOWN]}
  resources:
    requests: {cpu: 10m, memory: 32Mi}
    limits: {memory: 128Mi}
  volumeMounts:
    - {name: data, mountPath: /var/lib/lighterage}
{{- end -}}

{{/* The nodes that any pod of the release may run on. */}}
{{- define "lighterage.placement" -}}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Seconds for the endpoints to be updated, for transfers to finish, and to close everything. */}}
{{- define "lighterage.gracePeriod" -}}
{{- $shutdown := get (include "lighterage.settings" . | fromYaml) "shutdown" | default dict -}}
{{- $delay := include "lighterage.seconds" (get $shutdown "delay" | default "0s") | int64 -}}
{{- $grace := include "lighterage.seconds" (dig "grace" "5m" $shutdown) | int64 -}}
{{- default (add (int64 .Values.shutdown.preStopSeconds) $delay $grace 15) .Values.shutdown.terminationGracePeriodSeconds -}}
{{- end -}}

{{/* The files below /run/lighterage; the secrets directory of the settings is one of its directories. */}}
{{- define "lighterage.secrets" -}}
{{- $sources := list -}}
{{- with .Values.signingKey.existingSecret -}}
{{- $sources = append $sources (include "lighterage.secrets.source" (list . $.Values.signingKey.key "signing-key.pem") | fromYaml) -}}
{{- end -}}
{{- with .Values.adminService.existingSecret -}}
{{- $sources = append $sources (include "lighterage.secrets.source" (list . $.Values.adminService.tokenKey "admin/token") | fromYaml) -}}
{{- end -}}
{{- with .Values.tls.existingSecret -}}
{{- $sources = append $sources (include "lighterage.secrets.source" (list . "tls.crt" "tls/tls.crt" "tls.key" "tls/tls.key") | fromYaml) -}}
{{- end -}}
{{- with .Values.redis -}}
{{- $pairs := list -}}
{{- if .passwordKey }}{{ $pairs = concat $pairs (list .passwordKey "redis/password") }}{{ end -}}
{{- if .sentinelPasswordKey }}{{ $pairs = concat $pairs (list .sentinelPasswordKey "redis/sentinel-password") }}{{ end -}}
{{- if .urlKey }}{{ $pairs = concat $pairs (list .urlKey "settings/manifests__redis__url") }}{{ end -}}
{{- if and .existingSecret $pairs -}}
{{- $sources = append $sources (include "lighterage.secrets.source" (prepend $pairs .existingSecret) | fromYaml) -}}
{{- end -}}
{{- $files := ternary (list "ca.crt" "redis/ca.crt" "tls.crt" "redis/tls.crt" "tls.key" "redis/tls.key") (list "ca.crt" "redis/ca.crt") .clientCertificate -}}
{{- if .tlsSecret -}}
{{- $sources = append $sources (include "lighterage.secrets.source" (prepend $files .tlsSecret) | fromYaml) -}}
{{- end -}}
{{- end -}}
{{- with .Values.storage.bucket -}}
{{- if .existingSecret -}}
{{- $pairs := list .existingSecret .secretKey "bucket/secret" -}}
{{- if eq (include "lighterage.bucket.store" $) "s3" }}{{ $pairs = concat $pairs (list .idKey "bucket/id") }}{{ end -}}
{{- $sources = append $sources (include "lighterage.secrets.source" $pairs | fromYaml) -}}
{{- end -}}
{{- if .caSecret -}}
{{- $sources = append $sources (include "lighterage.secrets.source" (list .caSecret "ca.crt" "bucket/ca.crt") | fromYaml) -}}
{{- end -}}
{{- end -}}
{{- range $name, $login := .Values.credentials -}}
{{- $file := printf "credentials/%s" $name -}}
{{- $kind := default "basic" $login.kind -}}
{{- $key := default (get (dict "basic" "password" "token" "token" "dockerconfigjson" ".dockerconfigjson") $kind) $login.key -}}
{{- $pairs := list $login.existingSecret $key $file -}}
{{- if eq $kind "basic" -}}
{{- $username := printf "settings/upstreams__%s__credentials__username" $name -}}
{{- $pairs = concat $pairs (list (default "username" $login.usernameKey) $username) -}}
{{- end -}}
{{- $sources = append $sources (include "lighterage.secrets.source" $pairs | fromYaml) -}}
{{- end -}}
{{- with include "lighterage.redis.key.secret" . -}}
{{- $sources = append $sources (include "lighterage.secrets.source" (list . $.Values.redis.hmacKey.key "redis-hmac.key") | fromYaml) -}}
{{- end -}}
{{- with .Values.access.htpasswd -}}
{{- if .existingSecret -}}
{{- $sources = append $sources (include "lighterage.secrets.source" (list .existingSecret .key "htpasswd") | fromYaml) -}}
{{- end -}}
{{- end -}}
{{- with include "lighterage.access.key.secret" . -}}
{{- $sources = append $sources (include "lighterage.secrets.source" (list . $.Values.access.tokenKey.key "token-key") | fromYaml) -}}
{{- end -}}
{{- with include "lighterage.peers.secret" . -}}
{{- $sources = append $sources (include "lighterage.secrets.source" (list . $.Values.peers.secret.key "peer-secret") | fromYaml) -}}
{{- end -}}
{{- with .Values.access.clientCaSecret -}}
{{- $sources = append $sources (include "lighterage.secrets.source" (list . "ca.crt" "client-ca.crt") | fromYaml) -}}
{{- end -}}
{{ toYaml $sources }}
{{- end -}}

{{/* Takes a Secret's name, and then keys and files alternately. */}}
{{- define "lighterage.secrets.source" -}}
secret:
  name: {{ first . | quote }}
  items:
    {{- range $pair := chunk 2 (rest .) }}
    - {key: {{ first $pair | quote }}, path: {{ last $pair | quote }}}
    {{- end }}
{{- end -}}
